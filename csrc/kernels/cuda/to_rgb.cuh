// What the kernels that make images share.
//
// A group of lanes of one warp takes kPixels neighbouring pixels at a time; each lane walks over
// its packs of channels, 16 bytes each, and the group adds its sums up by shuffles. The sample's
// weights lie in shared memory, one plane for each element of a pack, so that neighbouring lanes
// read neighbouring words; one read serves kPixels pixels.
#pragma once

#include "kernels/cuda/element.cuh"
#include "kernels/shared/activation.h"
#include "kernels/shared/fir.h"
#include "kernels/to_rgb.h"

namespace deltafast::cuda {

constexpr int kImageThreads = 256;
constexpr int kPixels = 4;

// How a kernel that makes images is launched.
struct ImageLaunch {
  int lanes;  // of a group
  dim3 grid;
  bool fits;  // whether the GPU takes these sizes
};

inline ImageLaunch image_launch(const ToRgbParams<float>& p, int64_t packs, size_t shared) {
  constexpr int kWarp = 32;
  constexpr int64_t kRounds = 8;  // a block that serves many pixels loads the weights once for all
  const int64_t pixels = p.height * p.width;
  int lanes = kPixels;
  while (lanes < kWarp && lanes < packs) lanes *= 2;
  const int64_t per_block = int64_t(kImageThreads / lanes) * kPixels;
  const int64_t blocks = (pixels + per_block - 1) / per_block;
  const int64_t wanted = (blocks + kRounds - 1) / kRounds;
  return {lanes, dim3(blocks_for(wanted), blocks_for(p.batch, kMaxRows)),
          shared <= 48 * 1024 && p.height <= (1 << 30) && p.width <= (1 << 30)};
}

// Fills `weights` [Colours, Count, packs] with those of a sample.
template <int Count, int Colours>
__device__ __forceinline__ void load_weights(const ToRgbParams<float>& p, int64_t sample, int packs,
                                             float* weights) {
  for (int i = threadIdx.x; i < Colours * Count * packs; i += kImageThreads) {
    const int pack = i % packs, j = i / packs % Count, k = i / (packs * Count);
    const int64_t at = (sample * p.colours + k) * p.channels + pack * Count + j;
    weights[i] = k < p.colours ? p.weight[at] : 0.0f;
  }
}

// The up-sampled skip image at one pixel of one colour.
__device__ __forceinline__ float skip_at(const ToRgbParams<float>& p, const float* skip, int oy,
                                         int ox) {
  const int height = static_cast<int>(p.height / 2), width = static_cast<int>(p.width / 2);
  const int pad = (p.taps + 1) / 2;
  const int iy0 = fir_first_input<int>(oy, 2, 1, pad), ix0 = fir_first_input<int>(ox, 2, 1, pad);
  const int ty0 = fir_first_tap<int>(oy, 2, 1, pad, iy0);
  const int tx0 = fir_first_tap<int>(ox, 2, 1, pad, ix0);
  float sum = 0.0f;
  for (int ty = ty0, iy = iy0; ty < p.taps; ty += 2, ++iy) {
    if (iy < 0 || iy >= height) continue;
    float line = 0.0f;
    for (int tx = tx0, ix = ix0; tx < p.taps; tx += 2, ++ix) {
      if (ix < 0 || ix >= width) continue;
      line += __ldg(p.filter + p.taps - 1 - tx) * __ldg(skip + int64_t(iy) * width + ix);
    }
    sum += __ldg(p.filter + p.taps - 1 - ty) * line;
  }
  return p.gain * sum;
}

// Adds up the lanes' sums of the pixels from `first` on, and writes the image there. Every lane of
// a warp must take part, so that the shuffles meet all of them.
template <int Colours>
__device__ __forceinline__ void write_image(const ToRgbParams<float>& p, int64_t sample,
                                            int64_t first, int lanes, int lane,
                                            float (&sums)[kPixels][Colours]) {
  const int64_t pixels = p.height * p.width;
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
#pragma unroll
    for (int q = 0; q < kPixels; ++q) {
#pragma unroll
      for (int k = 0; k < Colours; ++k) {
        sums[q][k] += __shfl_xor_sync(0xffffffffu, sums[q][k], offset);
      }
    }
  }
#pragma unroll
  for (int q = 1; q < kPixels; ++q) {  // lane q of a group writes pixel q
#pragma unroll
    for (int k = 0; k < Colours; ++k) sums[0][k] = lane == q ? sums[q][k] : sums[0][k];
  }
  const int64_t pixel = first + lane;
  if (lane >= kPixels || pixel >= pixels) return;
#pragma unroll
  for (int k = 0; k < Colours; ++k) {
    if (k >= p.colours) continue;
    const int64_t plane = sample * p.colours + k;
    float v = clamp_symmetric(sums[0][k] + (p.bias ? __ldg(p.bias + k) : 0.0f), p.clamp);
    if (p.skip) {
      v += skip_at(p, p.skip + plane * (pixels / 4), static_cast<int>(pixel / p.width),
                   static_cast<int>(pixel % p.width));
    }
    p.y[plane * pixels + pixel] = v;
  }
}

}  // namespace deltafast::cuda
