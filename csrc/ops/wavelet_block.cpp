// torch's side of a block of MobileStyleGAN: schema, arguments, dispatch. The kernels are in
// kernels/.

#include "kernels/wavelet_block.h"

#include <tuple>

#include "ops/separable_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "wavelet_block";

// What the forward and the backward pass are given alike.
struct Layers {
  const Tensor& depthwise0;
  const Tensor& pointwise0;
  OptionalTensor noise0, bias0;
  const OptionalTensor& style0;
  const Tensor& depthwise1;
  const Tensor& pointwise1;
  OptionalTensor noise1, bias1;
  const OptionalTensor& style1;
  const OptionalTensor& image_weight;
  OptionalTensor image_bias;
  const OptionalTensor& image_style;
  double negative_slope, gain;
};

// Everything but x, the layers' results and the gradients.
template <typename A>
WaveletBlockParams<A> block(Arguments<A>& arguments, const Tensor& x, const Layers& layers) {
  WaveletBlockParams<A> params;
  InputSize size = input_size(x, kName);
  params.first =
      arguments.separable(size, layers.depthwise0, layers.pointwise0, layers.noise0, layers.bias0,
                          layers.style0, true, layers.negative_slope, layers.gain);
  size = {size.n, params.first.outputs, 2 * size.h, 2 * size.w};
  params.second =
      arguments.separable(size, layers.depthwise1, layers.pointwise1, layers.noise1, layers.bias1,
                          layers.style1, false, layers.negative_slope, layers.gain);
  size.c = params.second.outputs;
  params.with_image = layers.image_weight.has_value();
  if (params.with_image) {
    params.image =
        arguments.image(size, *layers.image_weight, layers.image_bias, layers.image_style);
  }
  return params;
}

template <typename A>
Tensor new_activation(const Tensor& x, const SeparableConvParams<A>& p) {
  return new_image(x, Layout::kNhwc, p.batch, p.outputs, p.height, p.width);
}

template <typename A>
Tensor new_result(const Tensor& x, const WaveletBlockParams<A>& p) {
  if (!p.with_image) return new_activation(x, p.second);
  return new_dense(x, {p.image.batch, p.image.colours, 2 * p.image.height, 2 * p.image.width},
                   x.scalar_type());
}

Tensor forward(const Tensor& x, const Tensor& depthwise0, const Tensor& pointwise0,
               const OptionalTensor& noise0, const OptionalTensor& bias0,
               const OptionalTensor& style0, const Tensor& depthwise1, const Tensor& pointwise1,
               const OptionalTensor& noise1, const OptionalTensor& bias1,
               const OptionalTensor& style1, const OptionalTensor& image_weight,
               const OptionalTensor& image_bias, const OptionalTensor& image_style,
               double negative_slope, double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    WaveletBlockParams<A> params =
        block(arguments, x,
              {depthwise0, pointwise0, noise0, bias0, style0, depthwise1, pointwise1, noise1, bias1,
               style1, image_weight, image_bias, image_style, negative_slope, gain});
    Tensor result = new_result(x, params);
    if (result.numel() == 0) return result;
    params.first.x = arguments.read_image(x, "x");
    auto* out = static_cast<A*>(result.mutable_data_ptr());
    (params.with_image ? params.image.image : params.second.y) = out;
    cpu::wavelet_block(params, parallel_for);
    return result;
  });
}

// The layers one by one, and what they give, for the backward pass. Without an image the second
// layer's activation is the result itself, and the third tensor is empty.
std::tuple<Tensor, Tensor, Tensor> forward_stored(
    const Tensor& x, const Tensor& depthwise0, const Tensor& pointwise0,
    const OptionalTensor& noise0, const OptionalTensor& bias0, const OptionalTensor& style0,
    const Tensor& depthwise1, const Tensor& pointwise1, const OptionalTensor& noise1,
    const OptionalTensor& bias1, const OptionalTensor& style1, const OptionalTensor& image_weight,
    const OptionalTensor& image_bias, const OptionalTensor& image_style, double negative_slope,
    double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    WaveletBlockParams<A> params =
        block(arguments, x,
              {depthwise0, pointwise0, noise0, bias0, style0, depthwise1, pointwise1, noise1, bias1,
               style1, image_weight, image_bias, image_style, negative_slope, gain});
    Tensor result = new_result(x, params), first = new_activation(x, params.first);
    Tensor second =
        params.with_image ? new_activation(x, params.second) : new_dense(x, {0}, x.scalar_type());
    if (result.numel() == 0 || first.numel() == 0) return std::make_tuple(result, first, second);
    params.first.x = arguments.read_image(x, "x");
    params.first.y = static_cast<A*>(first.mutable_data_ptr());
    params.second.x = params.first.y;
    params.second.y =
        static_cast<A*>(params.with_image ? second.mutable_data_ptr() : result.mutable_data_ptr());
    cpu::separable_conv(params.first, parallel_for);
    cpu::separable_conv(params.second, parallel_for);
    if (params.with_image) {
      params.image.x = params.second.y;
      params.image.image = static_cast<A*>(result.mutable_data_ptr());
      cpu::wavelet_image(params.image, parallel_for);
    }
    return std::make_tuple(result, first, second);
  });
}

// Where a style's gradient goes, and the sums that it is made of.
template <typename A, typename Params>
Tensor new_style_gradient(Arguments<A>& arguments, const Tensor& x, bool wanted, int64_t width,
                          Params& params) {
  Tensor gradient = new_dense(x, {wanted ? params.batch : 0, width}, arguments.kType);
  if (!wanted || gradient.numel() == 0) return gradient;
  const int64_t bands = separable_conv_bands(params.height);
  params.partials = arguments.template scratch<double>(params.batch * bands * width);
  params.grad_style = static_cast<A*>(gradient.mutable_data_ptr());
  return gradient;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
    const Tensor& grad, const Tensor& x, const Tensor& first, const Tensor& second,
    const Tensor& depthwise0, const Tensor& pointwise0, const OptionalTensor& style0,
    const Tensor& depthwise1, const Tensor& pointwise1, const OptionalTensor& style1,
    const OptionalTensor& image_weight, const OptionalTensor& image_style, double negative_slope,
    double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    WaveletBlockParams<A> params =
        block(arguments, x,
              {depthwise0, pointwise0, std::nullopt, std::nullopt, style0, depthwise1, pointwise1,
               std::nullopt, std::nullopt, style1, image_weight, std::nullopt, image_style,
               negative_slope, gain});
    const InputSize size = input_size(x, kName);
    Tensor grad_x = new_image(x, Layout::kNhwc, size.n, size.c, size.h, size.w);
    Tensor grad_style0 = new_style_gradient(arguments, x, style0.has_value(), size.c, params.first);
    Tensor grad_style1 =
        new_style_gradient(arguments, x, style1.has_value(), params.second.channels, params.second);
    Tensor grad_style2 = new_style_gradient(arguments, x, image_style.has_value(),
                                            params.second.outputs, params.image);
    if (grad.numel() == 0 || grad_x.numel() == 0 || first.numel() == 0) {
      for (Tensor* t : {&grad_x, &grad_style0, &grad_style1, &grad_style2})
        torch::stable::zero_(*t);
      return std::make_tuple(grad_x, grad_style0, grad_style1, grad_style2);
    }
    params.first.x = arguments.read_image(x, "x");
    params.second.x = arguments.read_image(first, "the first activation");
    params.first.y = const_cast<A*>(params.second.x);  // the activations are only read
    params.second.y = const_cast<A*>(arguments.read_image(second, "the second activation"));
    params.first.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    if (params.with_image) {
      const WaveletImageParams<A>& image = params.image;
      params.image.x = params.second.y;
      params.image.grad = arguments.read(
          grad, {size.n, image.colours, 2 * image.height, 2 * image.width}, "the gradient");
      params.image.packed =
          arguments.scratch(separable_conv_packed_size(image.channels, 4 * image.colours));
    } else {
      params.second.grad = arguments.read_image(grad, "the gradient");
    }
    cpu::wavelet_block_backward(params, parallel_for);
    return std::make_tuple(grad_x, grad_style0, grad_style1, grad_style2);
  });
}

}  // namespace

void define_wavelet_block(torch::stable::detail::StableLibrary& library) {
  library.def(
      "wavelet_block(Tensor x, Tensor depthwise0, Tensor pointwise0, Tensor? noise0, Tensor? "
      "bias0, Tensor? style0, Tensor depthwise1, Tensor pointwise1, Tensor? noise1, Tensor? bias1, "
      "Tensor? style1, Tensor? image_weight, Tensor? image_bias, Tensor? image_style, float "
      "negative_slope, float gain) -> Tensor");
  library.def(
      "wavelet_block_stored(Tensor x, Tensor depthwise0, Tensor pointwise0, Tensor? noise0, "
      "Tensor? bias0, Tensor? style0, Tensor depthwise1, Tensor pointwise1, Tensor? noise1, "
      "Tensor? bias1, Tensor? style1, Tensor? image_weight, Tensor? image_bias, Tensor? "
      "image_style, float negative_slope, float gain) -> (Tensor, Tensor, Tensor)");
  library.def(
      "wavelet_block_backward(Tensor grad, Tensor x, Tensor first, Tensor second, Tensor "
      "depthwise0, Tensor pointwise0, Tensor? style0, Tensor depthwise1, Tensor pointwise1, "
      "Tensor? style1, Tensor? image_weight, Tensor? image_style, float negative_slope, float "
      "gain) -> (Tensor, Tensor, Tensor, Tensor)");
}

void implement_wavelet_block(torch::stable::detail::StableLibrary& library) {
  library.impl("wavelet_block", TORCH_BOX(&forward));
  library.impl("wavelet_block_stored", TORCH_BOX(&forward_stored));
  library.impl("wavelet_block_backward", TORCH_BOX(&backward));
}

}  // namespace deltafast::ops
