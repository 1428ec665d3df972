// torch's side of activated_depthwise: arguments, results. The kernels, for CUDA alone, are in
// kernels/.

#include "kernels/activated_depthwise.h"

#include <limits>
#include <tuple>

#include "ops/arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "activated_depthwise";

// Everything but z and the gradients.
ActivatedDepthwiseParams read(Arguments<float>& arguments, const Tensor& u, const Tensor& depthwise,
                              const OptionalTensor& noise, const OptionalTensor& bias,
                              const OptionalTensor& style, bool wavelet, double slope,
                              double gain) {
  const auto [n, c, h, w] = image_size(u, kName);
  STD_TORCH_CHECK(!wavelet || c % 4 == 0, kName, ": with wavelet, u must have 4 C channels");
  ActivatedDepthwiseParams params;
  params.batch = n;
  params.channels = wavelet ? c / 4 : c;
  params.height = wavelet ? 2 * h : h;
  params.width = wavelet ? 2 * w : w;
  params.wavelet = wavelet;
  params.activation = {static_cast<float>(slope), static_cast<float>(gain),
                       std::numeric_limits<float>::infinity()};
  params.u = arguments.image(u, Layout::kNhwc, "u");
  const auto [maps, stride] = arguments.noise(noise, n, h, w);
  params.noise = maps;
  params.noise_stride = stride;
  params.bias = arguments.read(bias, {c}, "bias");
  params.style = arguments.read(style, {n, c}, "style");
  params.taps = arguments.read(depthwise, {params.channels, 1, 3, 3}, "depthwise");
  return params;
}

Tensor forward(const Tensor& u, const Tensor& depthwise, const OptionalTensor& noise,
               const OptionalTensor& bias, const OptionalTensor& style, bool wavelet,
               double negative_slope, double gain) {
  Arguments<float> arguments(kName, u);
  ActivatedDepthwiseParams params =
      read(arguments, u, depthwise, noise, bias, style, wavelet, negative_slope, gain);
  Tensor z =
      new_image(u, Layout::kNhwc, params.batch, params.channels, params.height, params.width);
  if (z.numel() == 0) return z;
  params.z = z.mutable_data_ptr();
  run_on_cuda(kName, u,
              [&](const auto& target) { return cuda::activated_depthwise(params, target); });
  return z;
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& u, const Tensor& depthwise,
                                    const OptionalTensor& noise, const OptionalTensor& bias,
                                    const OptionalTensor& style, bool wavelet,
                                    double negative_slope, double gain) {
  Arguments<float> arguments(kName, u);
  ActivatedDepthwiseParams params =
      read(arguments, u, depthwise, noise, bias, style, wavelet, negative_slope, gain);
  Tensor grad_u = new_image(u, Layout::kNhwc, u.size(0), u.size(1), u.size(2), u.size(3));
  Tensor grad_style = new_dense(u, {style.has_value() ? u.size(0) : 0, u.size(1)}, arguments.kType);
  if (u.numel() == 0) {
    torch::stable::zero_(grad_style);
    return std::make_tuple(grad_u, grad_style);
  }
  params.grad = arguments.image(grad, Layout::kNhwc, "the gradient");
  params.grad_u = grad_u.mutable_data_ptr();
  if (style.has_value()) {
    const int64_t tiles = depthwise_tiles(params.height, params.width);
    params.partials = arguments.scratch(u.size(0) * tiles * u.size(1));
    params.grad_style = static_cast<float*>(grad_style.mutable_data_ptr());
  }
  run_on_cuda(kName, u, [&](const auto& target) {
    return cuda::activated_depthwise_backward(params, target);
  });
  return std::make_tuple(grad_u, grad_style);
}

DELTAFAST_IMPLEMENT_CUDA(library) {
  library.impl("activated_depthwise", TORCH_BOX(&forward));
  library.impl("activated_depthwise_backward", TORCH_BOX(&backward));
}

}  // namespace
}  // namespace deltafast::ops
