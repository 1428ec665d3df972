// CUDA kernel of a block's last epilogue with its conversion to an image, NHWC: the convolution's
// result is read once; the activations, the next style multiplied in, are written once, or not at
// all behind the last block; the image is made of the activations while they are in registers.

#include "kernels/cuda/to_rgb.cuh"
#include "kernels/epilogue_to_rgb.h"

namespace deltafast::cuda {
namespace {

using Params = EpilogueToRgbParams;

constexpr int kCoefficients = 3;  // of a channel: demodulation, bias, next style

// Colours is the number of image channels that registers are kept for, at least rgb.colours.
template <typename T, int Count, int Colours>
__global__ void __launch_bounds__(kImageThreads, 2)
    epilogue_to_rgb_kernel(const Params p, int lanes) {
  extern __shared__ float shared[];
  const EpilogueParams<float>& e = p.epilogue;
  const int packs = static_cast<int>(e.channels / Count);
  float* weights = shared;                                 // [Colours, Count, packs]
  float* coefficients = shared + Colours * Count * packs;  // [kCoefficients, Count, packs]
  const int groups = kImageThreads / lanes;
  const int lane = threadIdx.x % lanes;
  const int group = threadIdx.x / lanes;
  const float strength = e.strength ? __ldg(e.strength) : 1.0f;
  for (int64_t sample = blockIdx.y; sample < e.batch; sample += gridDim.y) {
    load_weights<Count, Colours>(p.rgb, sample, packs, weights);
    for (int i = threadIdx.x; i < Count * packs; i += kImageThreads) {
      const int64_t channel = i % packs * Count + i / packs;
      const int64_t at = sample * e.channels + channel;
      coefficients[i] = e.demod ? e.demod[at] : 1.0f;
      coefficients[Count * packs + i] = e.bias ? e.bias[channel] : 0.0f;
      coefficients[2 * Count * packs + i] = e.style ? e.style[at] : 1.0f;
    }
    __syncthreads();
    const int64_t step = int64_t(gridDim.x) * groups * kPixels;
    for (int64_t round = int64_t(blockIdx.x) * groups * kPixels; round < e.pixels; round += step) {
      const int64_t first = round + group * kPixels;
      float sums[kPixels][Colours] = {};
      float shift[kPixels];
#pragma unroll
      for (int q = 0; q < kPixels; ++q) {
        const int64_t pixel = first + q < e.pixels ? first + q : e.pixels - 1;
        shift[q] = e.noise ? strength * __ldg(e.noise + sample * e.noise_stride + pixel) : 0.0f;
      }
      for (int pack = lane; pack < packs; pack += lanes) {
        Pack<T, Count> values[kPixels];
#pragma unroll
        for (int q = 0; q < kPixels; ++q) {
          const int64_t pixel = first + q < e.pixels ? first + q : e.pixels - 1;
          values[q] = load_pack<T, Count>(
              e.x, (sample * e.pixels + pixel) * e.channels + int64_t(pack) * Count);
        }
#pragma unroll
        for (int j = 0; j < Count; ++j) {
          const float* of_channel = coefficients + j * packs + pack;
          const float demod = of_channel[0], bias = of_channel[Count * packs];
          const float style = of_channel[2 * Count * packs];
          float activated[kPixels];
#pragma unroll
          for (int q = 0; q < kPixels; ++q) {
            const float u = demod * to_float(values[q].at[j]) + shift[q] + bias;
            activated[q] = activate(e.activation, u);
            values[q].at[j] = from_float<T>(activated[q] * style);
          }
#pragma unroll
          for (int k = 0; k < Colours; ++k) {
            const float w = weights[(k * Count + j) * packs + pack];
#pragma unroll
            for (int q = 0; q < kPixels; ++q) sums[q][k] += w * activated[q];
          }
        }
#pragma unroll
        for (int q = 0; q < kPixels; ++q) {
          if (!e.y || first + q >= e.pixels) continue;
          store_pack<T, Count>(
              e.y, (sample * e.pixels + first + q) * e.channels + int64_t(pack) * Count, values[q]);
        }
      }
      write_image<Colours>(p.rgb, sample, first, lanes, lane, sums);
    }
    __syncthreads();
  }
}

template <typename T, int Count, int Colours>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  const int64_t packs = p.epilogue.channels / Count;
  const size_t shared = sizeof(float) * (Colours + kCoefficients) * Count * packs;
  const ImageLaunch shape = image_launch(p.rgb, packs, shared);
  if (!shape.fits) return cudaErrorInvalidValue;
  epilogue_to_rgb_kernel<T, Count, Colours>
      <<<shape.grid, kImageThreads, shared, stream>>>(p, shape.lanes);
  return cudaGetLastError();
}

template <typename T, int Count>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  return p.rgb.colours <= 3 ? launch<T, Count, 3>(p, stream)
                            : launch<T, Count, kMaxImageChannels>(p, stream);
}

}  // namespace

int epilogue_to_rgb(const EpilogueToRgbParams& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kPack = 16 / sizeof(T);
    const EpilogueParams<float>& e = p.epilogue;
    const bool packed = e.channels % kPack == 0 && is_aligned(e.x, 16) && is_aligned(e.y, 16);
    return packed ? launch<T, kPack>(p, stream) : launch<T, 1>(p, stream);
  });
}

}  // namespace deltafast::cuda
