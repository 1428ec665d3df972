// torch's side of the separable convolution: schema, arguments, dispatch. The kernels are in
// kernels/.

#include "kernels/separable_conv.h"

#include <tuple>

#include "ops/separable_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "separable_conv";

Tensor forward(const Tensor& x, const Tensor& depthwise, const Tensor& pointwise,
               const OptionalTensor& noise, const OptionalTensor& bias, const OptionalTensor& style,
               bool wavelet, double negative_slope, double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    SeparableConvParams<A> params =
        arguments.separable(input_size(x, kName), depthwise, pointwise, noise, bias, style, wavelet,
                            negative_slope, gain);
    Tensor y =
        new_image(x, Layout::kNhwc, params.batch, params.outputs, params.height, params.width);
    if (y.numel() == 0) return y;
    params.x = arguments.read_image(x, "x");
    params.y = static_cast<A*>(y.mutable_data_ptr());
    cpu::separable_conv(params, parallel_for);
    return y;
  });
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& y,
                                    const Tensor& depthwise, const Tensor& pointwise,
                                    const OptionalTensor& style, bool wavelet,
                                    double negative_slope, double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    const InputSize size = input_size(x, kName);
    SeparableConvParams<A> params =
        arguments.separable(size, depthwise, pointwise, std::nullopt, std::nullopt, style, wavelet,
                            negative_slope, gain);
    Tensor grad_x = new_image(x, Layout::kNhwc, size.n, size.c, size.h, size.w);
    Tensor grad_style = new_dense(x, {style.has_value() ? size.n : 0, size.c}, arguments.kType);
    if (x.numel() == 0 || params.outputs == 0) {
      torch::stable::zero_(grad_x);
      torch::stable::zero_(grad_style);
      return std::make_tuple(grad_x, grad_style);
    }
    params.x = arguments.read_image(x, "x");
    params.y = const_cast<A*>(arguments.read_image(y, "y"));  // only read
    params.grad = arguments.read_image(grad, "the gradient");
    params.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    if (style.has_value()) {
      const int64_t bands = separable_conv_bands(params.height);
      params.partials = arguments.template scratch<double>(size.n * bands * size.c);
      params.grad_style = static_cast<A*>(grad_style.mutable_data_ptr());
    }
    cpu::separable_conv_backward(params, parallel_for);
    return std::make_tuple(grad_x, grad_style);
  });
}

}  // namespace

void define_separable_conv(torch::stable::detail::StableLibrary& library) {
  library.def(
      "separable_conv(Tensor x, Tensor depthwise, Tensor pointwise, Tensor? noise, Tensor? bias, "
      "Tensor? style, bool wavelet, float negative_slope, float gain) -> Tensor");
  library.def(
      "separable_conv_backward(Tensor grad, Tensor x, Tensor y, Tensor depthwise, Tensor "
      "pointwise, Tensor? style, bool wavelet, float negative_slope, float gain) -> (Tensor, "
      "Tensor)");
}

void implement_separable_conv(torch::stable::detail::StableLibrary& library) {
  library.impl("separable_conv", TORCH_BOX(&forward));
  library.impl("separable_conv_backward", TORCH_BOX(&backward));
}

}  // namespace deltafast::ops
