// CUDA kernel of the conversion to an image, NHWC.
//
// A group of lanes of one warp takes kPixels neighbouring pixels at a time; each lane walks over
// its packs of channels, 16 bytes each, and the group adds its sums up by shuffles. The sample's
// weights lie in shared memory, one plane for each element of a pack, so that neighbouring lanes
// read neighbouring words; one read serves kPixels pixels. x is read once.

#include "kernels/cuda/element.cuh"
#include "kernels/shared/activation.h"
#include "kernels/shared/fir.h"

namespace deltafast::cuda {
namespace {

using Params = ToRgbParams<float>;

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kPixels = 4;

// The up-sampled skip image at one pixel of one colour.
__device__ __forceinline__ float skip_at(const Params& p, const float* skip, int oy, int ox) {
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

// Colours is the number of image channels that registers are kept for, at least p.colours.
template <typename T, int Count, int Colours>
__global__ void __launch_bounds__(kThreads, 2) to_rgb_kernel(const Params p, int lanes) {
  extern __shared__ float weights[];  // [Colours, Count, packs]
  const int packs = static_cast<int>(p.channels / Count);
  const int64_t pixels = p.height * p.width;
  const int groups = kThreads / lanes;
  const int lane = threadIdx.x % lanes;
  const int group = threadIdx.x / lanes;
  for (int64_t sample = blockIdx.y; sample < p.batch; sample += gridDim.y) {
    for (int i = threadIdx.x; i < Colours * Count * packs; i += kThreads) {
      const int pack = i % packs, j = i / packs % Count, k = i / (packs * Count);
      const int64_t at = (sample * p.colours + k) * p.channels + pack * Count + j;
      weights[i] = k < p.colours ? p.weight[at] : 0.0f;
    }
    __syncthreads();
    // Every lane of a warp takes part in each round, so that the shuffles meet all of them.
    const int64_t step = int64_t(gridDim.x) * groups * kPixels;
    for (int64_t round = int64_t(blockIdx.x) * groups * kPixels; round < pixels; round += step) {
      const int64_t first = round + group * kPixels;
      float sums[kPixels][Colours] = {};
      for (int pack = lane; pack < packs; pack += lanes) {
        Pack<T, Count> in[kPixels];
#pragma unroll
        for (int q = 0; q < kPixels; ++q) {
          const int64_t pixel = first + q < pixels ? first + q : pixels - 1;
          in[q] = load_pack<T, Count>(
              p.x, (sample * pixels + pixel) * p.channels + int64_t(pack) * Count);
        }
#pragma unroll
        for (int j = 0; j < Count; ++j) {
#pragma unroll
          for (int k = 0; k < Colours; ++k) {
            const float w = weights[(k * Count + j) * packs + pack];
#pragma unroll
            for (int q = 0; q < kPixels; ++q) sums[q][k] += w * to_float(in[q].at[j]);
          }
        }
      }
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
      if (lane < kPixels && pixel < pixels) {
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
    }
    __syncthreads();
  }
}

template <typename T, int Count, int Colours>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  const int64_t packs = p.channels / Count, pixels = p.height * p.width;
  const size_t shared = sizeof(float) * Colours * Count * packs;
  if (shared > 48 * 1024 || p.height > (1 << 30) || p.width > (1 << 30))
    return cudaErrorInvalidValue;
  int lanes = kPixels;
  while (lanes < kWarp && lanes < packs) lanes *= 2;
  const int64_t per_block = int64_t(kThreads / lanes) * kPixels;
  const int64_t blocks = (pixels + per_block - 1) / per_block;
  // A block that serves many pixels loads the weights once for all of them.
  const int64_t rounds = 8;
  const int64_t wanted = (blocks + rounds - 1) / rounds;
  const dim3 grid(static_cast<unsigned>(wanted < (1 << 20) ? wanted : (1 << 20)),
                  static_cast<unsigned>(p.batch < 65535 ? p.batch : 65535));
  to_rgb_kernel<T, Count, Colours><<<grid, kThreads, shared, stream>>>(p, lanes);
  return cudaGetLastError();
}

template <typename T, int Count>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  return p.colours <= 3 ? launch<T, Count, 3>(p, stream)
                        : launch<T, Count, kMaxImageChannels>(p, stream);
}

}  // namespace

int to_rgb(const ToRgbParams<float>& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kPack = 16 / sizeof(T);
    const bool packed = p.channels % kPack == 0 && is_aligned(p.x, 16);
    return packed ? launch<T, kPack>(p, stream) : launch<T, 1>(p, stream);
  });
}

}  // namespace deltafast::cuda
