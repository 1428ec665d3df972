// What the ops of MobileStyleGAN's layers share: reading a layer's arguments. CPU kernels alone.
#pragma once

#include "kernels/separable_conv.h"
#include "kernels/wavelet_image.h"
#include "ops/arguments.h"

namespace deltafast::ops {

// The tensors and numbers of a separable convolution.
struct SeparableLayer {
  const Tensor& depthwise;
  const Tensor& pointwise;
  OptionalTensor noise, bias;
  const OptionalTensor& style;
  bool wavelet;
  double negative_slope, gain;

  // Everything but x and y, for an input of `size`.
  template <typename A>
  SeparableConvParams<A> read(Arguments<A>& arguments, const char* op,
                              const ImageSize& size) const {
    STD_TORCH_CHECK(pointwise.dim() == 4, op, ": pointwise must be [O, C, 1, 1]");
    const int64_t factor = wavelet ? 2 : 1;
    SeparableConvParams<A> params;
    params.batch = size.n;
    params.channels = size.c / (factor * factor);
    params.outputs = pointwise.size(0);
    params.height = size.h * factor;
    params.width = size.w * factor;
    params.wavelet = wavelet;
    params.slope = static_cast<A>(negative_slope);
    params.gain = static_cast<A>(gain);
    params.style = arguments.read(style, {size.n, size.c}, "style");
    params.depthwise = arguments.read(depthwise, {params.channels, 1, 3, 3}, "depthwise");
    params.pointwise =
        arguments.read(pointwise, {params.outputs, params.channels, 1, 1}, "pointwise");
    const auto [maps, stride] = arguments.noise(noise, size.n, params.height, params.width);
    params.noise = maps;
    params.noise_stride = stride;
    params.bias = arguments.read(bias, {params.outputs}, "bias");
    params.packed = arguments.scratch(separable_conv_packed_size(params.outputs, params.channels));
    return params;
  }
};

// The tensors of an image layer.
struct ImageLayer {
  const Tensor& weight;
  OptionalTensor bias;
  const OptionalTensor& style;

  // Everything but x and the image, for an input of `size`.
  template <typename A>
  WaveletImageParams<A> read(Arguments<A>& arguments, const char* op, const ImageSize& size) const {
    STD_TORCH_CHECK(weight.dim() == 4, op, ": weight must be [4 K, C, 1, 1]");
    WaveletImageParams<A> params;
    params.batch = size.n;
    params.channels = size.c;
    params.height = size.h;
    params.width = size.w;
    params.colours = weight.size(0) / 4;
    params.style = arguments.read(style, {size.n, size.c}, "style");
    params.weight = arguments.read(weight, {4 * params.colours, size.c, 1, 1}, "weight");
    params.bias = arguments.read(bias, {4 * params.colours}, "bias");
    params.folded = arguments.scratch(4 * params.colours * (size.c + 1));
    return params;
  }
};

// Where a style's gradient [N, width] goes, and the sums that it is made of; empty where there is
// no style.
template <typename A, typename Params>
Tensor new_style_gradient(Arguments<A>& arguments, const Tensor& x, bool wanted, int64_t width,
                          Params& params) {
  Tensor gradient = new_dense(x, {wanted ? x.size(0) : 0, width}, arguments.kType);
  if (!wanted || gradient.numel() == 0) return gradient;
  const int64_t bands = separable_conv_bands(params.height);
  params.partials = arguments.template scratch<double>(params.batch * bands * width);
  params.grad_style = static_cast<A*>(gradient.mutable_data_ptr());
  return gradient;
}

}  // namespace deltafast::ops
