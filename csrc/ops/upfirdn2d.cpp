// torch's side of upfirdn2d: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/upfirdn2d.h"

#include "kernels/shared/fir.h"
#include "ops/device.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "upfirdn2d";

// The taps of one axis, or of the whole filter, flipped to correlation order and scaled.
template <typename A>
std::vector<A> correlation_taps(const float* f, int64_t count, bool flip_filter, double gain) {
  std::vector<A> taps(static_cast<size_t>(count));
  for (int64_t t = 0; t < count; ++t) {
    taps[static_cast<size_t>(t)] = static_cast<A>(f[flip_filter ? t : count - 1 - t] * gain);
  }
  return taps;
}

template <typename A>
void run_on_cpu(const Upfirdn2dShape& shape, const Tensor& x, const Tensor& f, bool flip_filter,
                double gain, const Tensor& y) {
  const auto* values = static_cast<const float*>(f.const_data_ptr());
  Upfirdn2dCpuParams<A> params;
  params.shape = shape;
  params.x = static_cast<const A*>(x.const_data_ptr());
  params.y = static_cast<A*>(y.mutable_data_ptr());
  const std::vector<A> taps = correlation_taps<A>(values, f.numel(), flip_filter, gain);
  const std::vector<A> plain = correlation_taps<A>(values, f.numel(), flip_filter, 1.0);
  if (f.dim() == 1) {
    params.taps_y = taps.data();
    params.taps_x = plain.data();
  } else {
    params.taps_2d = taps.data();
  }
  cpu::upfirdn2d(params, parallel_for);
}

Tensor forward(const Tensor& x, const Tensor& f, int64_t up, int64_t down, int64_t pad_x0,
               int64_t pad_x1, int64_t pad_y0, int64_t pad_y1, bool flip_filter, double gain) {
  const Image image = dense_image(x, kName);
  STD_TORCH_CHECK(f.dim() == 1 || f.dim() == 2, kName, ": f must be [k] or [kh, kw]");
  STD_TORCH_CHECK(f.scalar_type() == ScalarType::Float && f.numel() > 0, kName,
                  ": f must be float32, not empty");
  STD_TORCH_CHECK(f.is_cuda() == x.is_cuda(), kName, ": f is not on the device of x");
  STD_TORCH_CHECK(up >= 1 && down >= 1, kName, ": up and down must be at least 1");
  const Tensor taps = f.is_contiguous() ? f : torch::stable::contiguous(f);
  const bool channels_last = image.layout == Layout::kNhwc;
  const int64_t n = x.size(0), c = x.size(1);
  Upfirdn2dShape shape;
  shape.planes = channels_last ? n : n * c;
  shape.inner = channels_last ? c : 1;
  shape.in_h = x.size(2);
  shape.in_w = x.size(3);
  shape.up = up;
  shape.down = down;
  shape.pad_x0 = pad_x0;
  shape.pad_y0 = pad_y0;
  shape.taps_h = f.size(0);
  shape.taps_w = f.size(f.dim() - 1);
  shape.out_h = fir_output_size<int64_t>(shape.in_h, up, down, pad_y0, pad_y1, shape.taps_h);
  shape.out_w = fir_output_size<int64_t>(shape.in_w, up, down, pad_x0, pad_x1, shape.taps_w);
  STD_TORCH_CHECK(shape.out_h >= 1 && shape.out_w >= 1, kName,
                  ": the filter is larger than the padded image");
  Tensor y = new_image(x, image.layout, n, c, shape.out_h, shape.out_w);
  if (y.numel() == 0) return y;
  run_kernel(
      x, kName,
      [&] {
        if (x.scalar_type() == ScalarType::Double) {
          run_on_cpu<double>(shape, image.tensor, taps, flip_filter, gain, y);
        } else {
          run_on_cpu<float>(shape, image.tensor, taps, flip_filter, gain, y);
        }
      },
      [&](const CudaTarget& target) {
#if defined(DELTAFAST_CUDA)
        Upfirdn2dCudaParams params;
        params.shape = shape;
        params.x = image.tensor.const_data_ptr();
        params.y = y.mutable_data_ptr();
        params.f = static_cast<const float*>(taps.const_data_ptr());
        params.separable = f.dim() == 1;
        params.flip_filter = flip_filter;
        params.gain = static_cast<float>(gain);
        return cuda::upfirdn2d(params, target);
#else
        (void)target;
        return 0;
#endif
      });
  return y;
}

}  // namespace

void define_upfirdn2d(torch::stable::detail::StableLibrary& library) {
  library.def(
      "upfirdn2d(Tensor x, Tensor f, int up, int down, SymInt pad_x0, SymInt pad_x1, SymInt "
      "pad_y0, SymInt pad_y1, "
      "bool flip_filter, float gain) -> Tensor");
}

void implement_upfirdn2d(torch::stable::detail::StableLibrary& library) {
  library.impl("upfirdn2d", TORCH_BOX(&forward));
}

}  // namespace deltafast::ops
