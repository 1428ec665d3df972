// torch's side of upfirdn2d: arguments, results. The kernels are in kernels/.

#include "kernels/upfirdn2d.h"

#include "kernels/shared/fir.h"
#include "ops/arguments.h"

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
void run_on_cpu(const Upfirdn2dCudaParams& p, bool turned, double gain, int64_t count) {
  const std::vector<A> taps = correlation_taps<A>(p.f, count, turned, gain);
  const std::vector<A> plain = correlation_taps<A>(p.f, count, turned, 1.0);
  Upfirdn2dCpuParams<A> params;
  params.shape = p.shape;
  params.x = static_cast<const A*>(p.x);
  params.y = static_cast<A*>(p.y);
  if (p.separable) {
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
  STD_TORCH_CHECK(f.numel() > 0, kName, ": f must not be empty");
  STD_TORCH_CHECK(up >= 1 && down >= 1, kName, ": up and down must be at least 1");
  const bool channels_last = image.layout == Layout::kNhwc;
  const int64_t n = x.size(0), c = x.size(1);
  const int64_t taps_h = f.size(0), taps_w = f.size(f.dim() - 1);
  Upfirdn2dCudaParams params;
  Upfirdn2dShape& shape = params.shape;
  shape.planes = channels_last ? n : n * c;
  shape.inner = channels_last ? c : 1;
  shape.in_h = x.size(2);
  shape.in_w = x.size(3);
  shape.up = up;
  shape.down = down;
  shape.pad_x0 = pad_x0;
  shape.pad_y0 = pad_y0;
  shape.taps_h = taps_h;
  shape.taps_w = taps_w;
  shape.out_h = fir_output_size<int64_t>(shape.in_h, up, down, pad_y0, pad_y1, taps_h);
  shape.out_w = fir_output_size<int64_t>(shape.in_w, up, down, pad_x0, pad_x1, taps_w);
  STD_TORCH_CHECK(shape.out_h >= 1 && shape.out_w >= 1, kName,
                  ": the filter is larger than the padded image");
  params.separable = f.dim() == 1;
  params.flip_filter = flip_filter;
  params.gain = static_cast<float>(gain);
  Tensor y = new_image(x, image.layout, n, c, shape.out_h, shape.out_w);
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    params.f = params.separable ? arguments.template read<float>(f, {taps_w}, "f")
                                : arguments.template read<float>(f, {taps_h, taps_w}, "f");
    if (y.numel() == 0) return y;
    params.x = image.tensor.const_data_ptr();
    params.y = y.mutable_data_ptr();
    run_kernel<A>(
        kName, x, [&] { run_on_cpu<A>(params, flip_filter, gain, f.numel()); },
        [&](const auto& target) { return cuda::upfirdn2d(params, target); });
    return y;
  });
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) { library.impl("upfirdn2d", TORCH_BOX(&forward)); }

}  // namespace
}  // namespace deltafast::ops
