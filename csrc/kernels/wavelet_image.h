// MobileStyleGAN's image layer: parameters and entry points, free of torch.
//
//   image = inverse_haar(weight * (style * x) + bias)
#pragma once

#include <cstdint>

#include "kernels/parallel.h"

namespace deltafast {

// `A` is the type of everything, float or double.
template <typename A>
struct WaveletImageParams {
  int64_t batch = 0;
  int64_t channels = 0;           // C, of x
  int64_t colours = 0;            // K, of the image
  int64_t height = 0, width = 0;  // H, W: of x; the image is twice as large

  const A* x = nullptr;       // [N, H, W, C]
  const A* style = nullptr;   // [N, C] or null
  const A* weight = nullptr;  // [4 K, C], subband by subband
  const A* bias = nullptr;    // [4 K] or null
  A* image = nullptr;         // [N, K, 2 H, 2 W]

  const A* grad = nullptr;     // backward only, from here on: like image
  A* grad_x = nullptr;         // like x
  A* grad_style = nullptr;     // like style, or null
  double* partials = nullptr;  // [N, bands, C], or null where grad_style is
  A* packed = nullptr;         // separable_conv_packed_size(C, 4 K) elements for the kernel's use
};

namespace cpu {
template <typename A>
void wavelet_image(const WaveletImageParams<A>& params, ParallelFor parallel_for);
template <typename A>
void wavelet_image_backward(const WaveletImageParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

}  // namespace deltafast
