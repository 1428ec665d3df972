// torch's side of a block of MobileStyleGAN: arguments, results. The kernels, for CPUs alone, are
// in kernels/.

#include "kernels/wavelet_block.h"

#include <tuple>

#include "ops/separable_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "wavelet_block";

// The layers of a block. Everything but x, the layers' results and the gradients.
struct Block {
  SeparableLayer first, second;
  std::optional<ImageLayer> image;

  template <typename A>
  WaveletBlockParams<A> read(Arguments<A>& arguments, const Tensor& x) const {
    WaveletBlockParams<A> params;
    ImageSize size = image_size(x, kName);
    params.first = first.read(arguments, kName, size);
    size = {size.n, params.first.outputs, 2 * size.h, 2 * size.w};
    params.second = second.read(arguments, kName, size);
    size.c = params.second.outputs;
    params.with_image = image.has_value();
    if (params.with_image) params.image = image->read(arguments, kName, size);
    return params;
  }
};

std::optional<ImageLayer> image_layer(const OptionalTensor& weight, const OptionalTensor& bias,
                                      const OptionalTensor& style) {
  if (!weight.has_value()) return std::nullopt;
  return ImageLayer{*weight, bias, style};
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
  const Block block{{depthwise0, pointwise0, noise0, bias0, style0, true, negative_slope, gain},
                    {depthwise1, pointwise1, noise1, bias1, style1, false, negative_slope, gain},
                    image_layer(image_weight, image_bias, image_style)};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    WaveletBlockParams<A> params = block.read(arguments, x);
    Tensor result = new_result(x, params);
    if (result.numel() == 0) return result;
    params.first.x = arguments.template image<A>(x, Layout::kNhwc, "x");
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
  const Block block{{depthwise0, pointwise0, noise0, bias0, style0, true, negative_slope, gain},
                    {depthwise1, pointwise1, noise1, bias1, style1, false, negative_slope, gain},
                    image_layer(image_weight, image_bias, image_style)};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    WaveletBlockParams<A> params = block.read(arguments, x);
    Tensor result = new_result(x, params), first = new_activation(x, params.first);
    Tensor second =
        params.with_image ? new_activation(x, params.second) : new_dense(x, {0}, x.scalar_type());
    if (result.numel() == 0 || first.numel() == 0) return std::make_tuple(result, first, second);
    params.first.x = arguments.template image<A>(x, Layout::kNhwc, "x");
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

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
    const Tensor& grad, const Tensor& x, const Tensor& first, const Tensor& second,
    const Tensor& depthwise0, const Tensor& pointwise0, const OptionalTensor& style0,
    const Tensor& depthwise1, const Tensor& pointwise1, const OptionalTensor& style1,
    const OptionalTensor& image_weight, const OptionalTensor& image_style, double negative_slope,
    double gain) {
  const Block block{
      {depthwise0, pointwise0, std::nullopt, std::nullopt, style0, true, negative_slope, gain},
      {depthwise1, pointwise1, std::nullopt, std::nullopt, style1, false, negative_slope, gain},
      image_layer(image_weight, std::nullopt, image_style)};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    WaveletBlockParams<A> params = block.read(arguments, x);
    const ImageSize size = image_size(x, kName);
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
    params.first.x = arguments.template image<A>(x, Layout::kNhwc, "x");
    params.second.x = arguments.template image<A>(first, Layout::kNhwc, "the first activation");
    params.first.y = const_cast<A*>(params.second.x);  // the activations are only read
    params.second.y =
        const_cast<A*>(arguments.template image<A>(second, Layout::kNhwc, "the second activation"));
    params.first.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    if (params.with_image) {
      const WaveletImageParams<A>& image = params.image;
      params.image.x = params.second.y;
      params.image.grad = arguments.read(
          grad, {size.n, image.colours, 2 * image.height, 2 * image.width}, "the gradient");
      params.image.packed =
          arguments.scratch(separable_conv_packed_size(image.channels, 4 * image.colours));
    } else {
      params.second.grad = arguments.template image<A>(grad, Layout::kNhwc, "the gradient");
    }
    cpu::wavelet_block_backward(params, parallel_for);
    return std::make_tuple(grad_x, grad_style0, grad_style1, grad_style2);
  });
}

DELTAFAST_IMPLEMENT_CPU(library) {
  library.impl("wavelet_block", TORCH_BOX(&forward));
  library.impl("wavelet_block_stored", TORCH_BOX(&forward_stored));
  library.impl("wavelet_block_backward", TORCH_BOX(&backward));
}

}  // namespace
}  // namespace deltafast::ops
