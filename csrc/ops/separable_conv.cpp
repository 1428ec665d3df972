// torch's side of the separable convolution: arguments, results. The kernels, for CPUs alone, are
// in kernels/.

#include "kernels/separable_conv.h"

#include <tuple>
#include <utility>
#include <vector>

#include "ops/separable_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "separable_conv";

Tensor forward(const Tensor& x, const Tensor& depthwise, const Tensor& pointwise,
               const OptionalTensor& noise, const OptionalTensor& bias, const OptionalTensor& style,
               bool wavelet, double negative_slope, double gain) {
  const SeparableLayer layer{depthwise, pointwise, noise,          bias,
                             style,     wavelet,   negative_slope, gain};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    SeparableConvParams<A> params = layer.read(arguments, kName, image_size(x, kName));
    Tensor y =
        new_image(x, Layout::kNhwc, params.batch, params.outputs, params.height, params.width);
    if (y.numel() == 0) return y;
    params.x = arguments.template image<A>(x, Layout::kNhwc, "x");
    params.y = static_cast<A*>(y.mutable_data_ptr());
    cpu::separable_conv(params, parallel_for);
    return y;
  });
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& y,
                                    const Tensor& depthwise, const Tensor& pointwise,
                                    const OptionalTensor& style, bool wavelet,
                                    double negative_slope, double gain) {
  const SeparableLayer layer{depthwise, pointwise, std::nullopt,   std::nullopt,
                             style,     wavelet,   negative_slope, gain};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    const ImageSize size = image_size(x, kName);
    SeparableConvParams<A> params = layer.read(arguments, kName, size);
    Tensor grad_x = new_image(x, Layout::kNhwc, size.n, size.c, size.h, size.w);
    Tensor grad_style = new_style_gradient(arguments, x, style.has_value(), size.c, params);
    if (x.numel() == 0 || params.outputs == 0) {
      torch::stable::zero_(grad_x);
      torch::stable::zero_(grad_style);
      return std::make_tuple(grad_x, grad_style);
    }
    params.x = arguments.template image<A>(x, Layout::kNhwc, "x");
    params.y = const_cast<A*>(arguments.template image<A>(y, Layout::kNhwc, "y"));  // only read
    params.grad = arguments.template image<A>(grad, Layout::kNhwc, "the gradient");
    params.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    cpu::separable_conv_backward(params, parallel_for);
    return std::make_tuple(grad_x, grad_style);
  });
}

// The gradients of depthwise, pointwise, bias and noise, in the precision of sums; the noise's for
// every sample.
std::tuple<Tensor, Tensor, Tensor, Tensor> backward_weights(
    const Tensor& grad, const Tensor& x, const Tensor& y, const Tensor& depthwise,
    const Tensor& pointwise, const OptionalTensor& style, bool wavelet, double negative_slope,
    double gain) {
  const SeparableLayer layer{depthwise, pointwise, std::nullopt,   std::nullopt,
                             style,     wavelet,   negative_slope, gain};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    SeparableConvParams<A> params = layer.read(arguments, kName, image_size(x, kName));
    const int64_t n = params.batch, c = params.channels, o = params.outputs;
    const auto gradient = [&](std::vector<int64_t> sizes) {
      return new_dense(x, std::move(sizes), arguments.kType);
    };
    Tensor grad_depthwise = gradient({c, 1, 3, 3}), grad_pointwise = gradient({o, c, 1, 1});
    Tensor grad_bias = gradient({o}), grad_noise = gradient({n, 1, params.height, params.width});
    auto all = std::make_tuple(grad_depthwise, grad_pointwise, grad_bias, grad_noise);
    if (x.numel() == 0 || o == 0) {
      std::apply([](auto&... one) { (torch::stable::zero_(one), ...); }, all);
      return all;
    }
    params.x = arguments.template image<A>(x, Layout::kNhwc, "x");
    params.y = const_cast<A*>(arguments.template image<A>(y, Layout::kNhwc, "y"));  // only read
    params.grad = arguments.template image<A>(grad, Layout::kNhwc, "the gradient");
    params.grad_depthwise = static_cast<A*>(grad_depthwise.mutable_data_ptr());
    params.grad_pointwise = static_cast<A*>(grad_pointwise.mutable_data_ptr());
    params.grad_bias = static_cast<A*>(grad_bias.mutable_data_ptr());
    params.grad_noise = static_cast<A*>(grad_noise.mutable_data_ptr());
    params.weight_partials = arguments.scratch(separable_conv_weight_units(n, params.height) *
                                               separable_conv_weight_sums(params));
    cpu::separable_conv_backward_weights(params, parallel_for);
    return all;
  });
}

DELTAFAST_IMPLEMENT_CPU(library) {
  library.impl("separable_conv", TORCH_BOX(&forward));
  library.impl("separable_conv_backward", TORCH_BOX(&backward));
  library.impl("separable_conv_backward_weights", TORCH_BOX(&backward_weights));
}

}  // namespace
}  // namespace deltafast::ops
