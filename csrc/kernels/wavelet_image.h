// MobileStyleGAN's image layer: parameters and entry points, free of torch.
//
//   image = inverse_haar(weight * (style * x) + bias)
#pragma once

#include <cstdint>

#include "kernels/target.h"

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

  A* folded = nullptr;  // 4 K (C + 1) elements for the kernel's use: see fold_wavelet
};

// Multiplies the inverse wavelet into weights and biases: result 4 k + 2 i + j is colour k at pixel
// (2 y + i, 2 x + j). Writes [4 K, C] weights and [4 K] biases to `folded`.
template <typename A>
inline void fold_wavelet(const WaveletImageParams<A>& p) {
  const int64_t k = p.colours, c = p.channels;
  for (int64_t r = 0; r < 4 * k; ++r) {
    const double s = r / 2 % 2 ? -1 : 1, t = r % 2 ? -1 : 1;
    const auto merged = [&](const A* at, int64_t step) {  // the four subbands of one weight or bias
      return static_cast<A>(at[0] + s * at[step] + t * at[2 * step] + s * t * at[3 * step]);
    };
    for (int64_t i = 0; i < c; ++i) p.folded[r * c + i] = merged(p.weight + r / 4 * c + i, k * c);
    p.folded[4 * k * c + r] = p.bias ? merged(p.bias + r / 4, k) : A(0);
  }
}

namespace cpu {
template <typename A>
void wavelet_image(const WaveletImageParams<A>& params, ParallelFor parallel_for);
template <typename A>
void wavelet_image_backward(const WaveletImageParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

}  // namespace deltafast
