// The image that a convolution's epilogue makes where its tile holds all channels.
#pragma once

#include "kernels/cuda/conv_tile.cuh"
#include "kernels/cuda/to_rgb.cuh"
#include "kernels/implicit_conv.h"
#include "kernels/shared/activation.h"

namespace deltafast::cuda {

// Adds up the colours of the four lanes that hold the channels of the same pixels; each of the
// first kPixels of them writes one. Pixel q lies at row y + q / 2, column x + 8 (q % 2).
template <int kPixels>
__device__ __forceinline__ void write_image(const ImplicitConvParams& p, int sample, int y, int x,
                                            float (&colours)[kPixels][kConvColours]) {
  static_assert(kPixels <= 4);
  const ToRgbParams<float>& rgb = p.rgb;
  const int place = threadIdx.x % 4;
  float mine[kConvColours] = {};
#pragma unroll
  for (int q = 0; q < kPixels; ++q) {
#pragma unroll
    for (int k = 0; k < kConvColours; ++k) {
      colours[q][k] += __shfl_xor_sync(0xffffffffu, colours[q][k], 1);
      colours[q][k] += __shfl_xor_sync(0xffffffffu, colours[q][k], 2);
      mine[k] = place == q ? colours[q][k] : mine[k];
    }
  }
  y += place / 2;
  x += place % 2 * 8;
  if (place >= kPixels || y >= p.out_h || x >= p.out_w) return;
  const int64_t pixels = rgb.height * rgb.width;
#pragma unroll 1
  for (int k = 0; k < rgb.colours; ++k) {
    const float sum = k == 0 ? mine[0] : (k == 1 ? mine[1] : mine[2]);
    const int64_t plane = int64_t(sample) * rgb.colours + k;
    float v = clamp_symmetric(sum + (rgb.bias ? __ldg(rgb.bias + k) : 0.0f), rgb.clamp);
    if (rgb.skip) v += skip_at(rgb, rgb.skip + plane * (pixels / 4), y, x);
    rgb.y[plane * pixels + int64_t(y) * rgb.width + x] = v;
  }
}

}  // namespace deltafast::cuda
