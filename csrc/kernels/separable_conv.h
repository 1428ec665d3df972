// MobileStyleGAN's separable modulated convolution: parameters and entry points, free of torch.
//
//   z = style * x, or inverse_haar(style * x) if `wavelet`
//   y = gain * leaky_relu(pointwise(depthwise(z)) + noise + bias)
#pragma once

#include <cstdint>

#include "kernels/target.h"

namespace deltafast {

// All images are dense NHWC; `A` is the type of everything, float or double.
template <typename A>
struct SeparableConvParams {
  int64_t batch = 0;
  int64_t channels = 0;           // C, after the wavelet
  int64_t outputs = 0;            // O
  int64_t height = 0, width = 0;  // H, W: of the convolution, after the wavelet
  bool wavelet = false;
  A slope = 0, gain = 1;

  const A* x = nullptr;          // [N, H, W, C], or [N, H / 2, W / 2, 4 C] if `wavelet`
  const A* style = nullptr;      // [N, C] or [N, 4 C], or null
  const A* depthwise = nullptr;  // [C, 3, 3]
  const A* pointwise = nullptr;  // [O, C]
  const A* noise = nullptr;      // [N or 1, H, W] or null
  int64_t noise_stride = 0;      // elements from one sample's noise to the next: 0 or H * W
  const A* bias = nullptr;       // [O] or null
  A* y = nullptr;                // [N, H, W, O]; the backward pass reads it
  A* packed = nullptr;           // separable_conv_packed_size(O, C) elements for the kernel's use

  const A* grad = nullptr;     // backward only, from here on: [N, H, W, O]
  A* grad_x = nullptr;         // like x
  A* grad_style = nullptr;     // like style, or null
  double* partials = nullptr;  // [N, bands, width of style], or null where grad_style is

  A* grad_depthwise = nullptr;   // backward of weights only, from here on: [C, 3, 3]
  A* grad_pointwise = nullptr;   // [O, C]
  A* grad_bias = nullptr;        // [O]
  A* grad_noise = nullptr;       // [N, H, W]
  A* weight_partials = nullptr;  // [units, sums], see below
};

// Elements of a weight matrix [outputs, channels] packed either way round, for any instruction set.
inline int64_t separable_conv_packed_size(int64_t outputs, int64_t channels) {
  return (outputs + 63) / 64 * 64 * ((channels + 63) / 64 * 64);
}

// Turns a matrix into panels of outer channels for the CPU's matrix products.
template <typename A>
struct PackParams {
  const A* matrix = nullptr;  // element (outer n, inner k) at n * stride_outer + k * stride_inner
  int64_t inner = 0, outer = 0;
  int64_t stride_inner = 0, stride_outer = 0;
  A* packed = nullptr;
};

// Into how many bands of rows an image is cut: by the shape alone, so that every run gives the same
// bits. Even, so that a band of the wavelet's result is one of its subbands.
inline int64_t separable_conv_band_rows(int64_t height) {
  return height >= 256 ? 32 : (height >= 64 ? 16 : (height >= 16 ? 8 : 4));
}
inline int64_t separable_conv_bands(int64_t height) {
  const int64_t rows = separable_conv_band_rows(height);
  return (height + rows - 1) / rows;
}

// How many parts the gradient of the weights is summed up in, by the shape alone, and the elements
// of one: those of the pointwise weights, of the depthwise ones, and of the bias.
inline int64_t separable_conv_weight_units(int64_t batch, int64_t height) {
  const int64_t bands = batch * separable_conv_bands(height);
  return bands < 32 ? bands : 32;
}
template <typename A>
int64_t separable_conv_weight_sums(const SeparableConvParams<A>& p) {
  return p.outputs * p.channels + 9 * p.channels + p.outputs;
}

namespace cpu {
template <typename A>
void separable_conv(const SeparableConvParams<A>& params, ParallelFor parallel_for);
template <typename A>
void separable_conv_backward(const SeparableConvParams<A>& params, ParallelFor parallel_for);
template <typename A>
void separable_conv_backward_weights(const SeparableConvParams<A>& params,
                                     ParallelFor parallel_for);
}  // namespace cpu

}  // namespace deltafast
