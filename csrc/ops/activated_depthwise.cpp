// torch's side of activated_depthwise: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/activated_depthwise.h"

#include <limits>
#include <tuple>

#include "ops/device.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "activated_depthwise";

using OptionalTensor = std::optional<Tensor>;

// Keeps the dense copies of the arguments alive for as long as the parameters point into them.
template <typename A>
struct Arguments {
  static constexpr ScalarType kType =
      sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  ActivatedDepthwiseParams<A> params;
  Tensor u;
  std::vector<Tensor> kept;

  const A* keep(const OptionalTensor& t, std::initializer_list<int64_t> sizes, const char* name) {
    if (!t.has_value()) return nullptr;
    kept.push_back(dense_argument(*t, u, kType, sizes, kName, name));
    return static_cast<const A*>(kept.back().const_data_ptr());
  }

  Arguments(const Tensor& input, const Tensor& depthwise, const OptionalTensor& noise,
            const OptionalTensor& bias, const OptionalTensor& style, bool wavelet, double slope,
            double gain)
      : u(to_layout(input, Layout::kNhwc)) {
    STD_TORCH_CHECK(input.dim() == 4, kName, ": u must be [N, C, H, W]");
    const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
    STD_TORCH_CHECK(!wavelet || c % 4 == 0, kName, ": with wavelet, u must have 4 C channels");
    params.batch = n;
    params.channels = wavelet ? c / 4 : c;
    params.height = wavelet ? 2 * h : h;
    params.width = wavelet ? 2 * w : w;
    params.wavelet = wavelet;
    params.activation = {static_cast<A>(slope), static_cast<A>(gain),
                         std::numeric_limits<A>::infinity()};
    params.u = u.const_data_ptr();
    if (noise.has_value()) {
      STD_TORCH_CHECK(noise->dim() == 4, kName, ": noise must be [N or 1, 1, H, W]");
      const int64_t maps = noise->size(0);
      STD_TORCH_CHECK(maps == 1 || maps == n, kName, ": noise must have 1 or N maps");
      params.noise = keep(noise, {maps, 1, h, w}, "noise");
      params.noise_stride = maps == 1 ? 0 : h * w;
    }
    params.bias = keep(bias, {c}, "bias");
    params.style = keep(style, {n, c}, "style");
    params.taps = keep(depthwise, {params.channels, 1, 3, 3}, "depthwise");
  }
};

// Calls `run` with a value of the accumulation type that belongs to the dtype of u.
template <typename Run>
auto with_accumulation_type(const Tensor& u, Run run) {
  return u.scalar_type() == ScalarType::Double ? run(double{}) : run(float{});
}

template <typename A>
int on_cuda(const ActivatedDepthwiseParams<A>& params, bool backward, const CudaTarget& target) {
#if defined(DELTAFAST_CUDA)
  if constexpr (sizeof(A) == sizeof(float)) {
    return backward ? cuda::activated_depthwise_backward(params, target)
                    : cuda::activated_depthwise(params, target);
  } else {
    STD_TORCH_CHECK(false, kName, ": there is no float64 kernel on CUDA");
  }
#else
  (void)params, (void)backward, (void)target;
  return 0;
#endif
}

Tensor forward(const Tensor& u, const Tensor& depthwise, const OptionalTensor& noise,
               const OptionalTensor& bias, const OptionalTensor& style, bool wavelet,
               double negative_slope, double gain) {
  return with_accumulation_type(u, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(u, depthwise, noise, bias, style, wavelet, negative_slope, gain);
    ActivatedDepthwiseParams<A>& params = arguments.params;
    Tensor z =
        new_image(u, Layout::kNhwc, params.batch, params.channels, params.height, params.width);
    if (z.numel() == 0) return z;
    params.z = z.mutable_data_ptr();
    run_kernel(
        u, kName, [&] { cpu::activated_depthwise(params, parallel_for); },
        [&](const CudaTarget& target) { return on_cuda(params, false, target); });
    return z;
  });
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& u, const Tensor& depthwise,
                                    const OptionalTensor& noise, const OptionalTensor& bias,
                                    const OptionalTensor& style, bool wavelet,
                                    double negative_slope, double gain) {
  return with_accumulation_type(u, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(u, depthwise, noise, bias, style, wavelet, negative_slope, gain);
    ActivatedDepthwiseParams<A>& params = arguments.params;
    Tensor grad_u = new_image(u, Layout::kNhwc, u.size(0), u.size(1), u.size(2), u.size(3));
    Tensor grad_style =
        new_dense(u, {style.has_value() ? u.size(0) : 0, u.size(1)}, arguments.kType);
    if (u.numel() == 0) {
      torch::stable::zero_(grad_style);
      return std::make_tuple(grad_u, grad_style);
    }
    STD_TORCH_CHECK(grad.scalar_type() == u.scalar_type(), kName,
                    ": the gradient has the wrong dtype");
    const Tensor dense_grad = to_layout(grad, Layout::kNhwc);
    params.grad = dense_grad.const_data_ptr();
    params.grad_u = grad_u.mutable_data_ptr();
    if (style.has_value()) {
      const int64_t tiles = depthwise_tiles(params.height, params.width);
      arguments.kept.push_back(new_dense(u, {u.size(0), tiles, u.size(1)}, arguments.kType));
      params.partials = static_cast<A*>(arguments.kept.back().mutable_data_ptr());
      params.grad_style = static_cast<A*>(grad_style.mutable_data_ptr());
    }
    run_kernel(
        u, kName, [&] { cpu::activated_depthwise_backward(params, parallel_for); },
        [&](const CudaTarget& target) { return on_cuda(params, true, target); });
    return std::make_tuple(grad_u, grad_style);
  });
}

}  // namespace

void define_activated_depthwise(torch::stable::detail::StableLibrary& library) {
  library.def(
      "activated_depthwise(Tensor u, Tensor depthwise, Tensor? noise, Tensor? bias, Tensor? style, "
      "bool wavelet, float negative_slope, float gain) -> Tensor");
  library.def(
      "activated_depthwise_backward(Tensor grad, Tensor u, Tensor depthwise, Tensor? noise, "
      "Tensor? bias, Tensor? style, bool wavelet, float negative_slope, float gain) -> (Tensor, "
      "Tensor)");
}

void implement_activated_depthwise(torch::stable::detail::StableLibrary& library) {
  library.impl("activated_depthwise", TORCH_BOX(&forward));
  library.impl("activated_depthwise_backward", TORCH_BOX(&backward));
}

}  // namespace deltafast::ops
