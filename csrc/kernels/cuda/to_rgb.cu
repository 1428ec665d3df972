// CUDA kernel of the conversion to an image, NHWC. x is read once.

#include "kernels/cuda/to_rgb.cuh"

namespace deltafast::cuda {
namespace {

using Params = ToRgbParams<float>;

// Colours is the number of image channels that registers are kept for, at least p.colours.
template <typename T, int Count, int Colours>
__global__ void __launch_bounds__(kImageThreads, 2) to_rgb_kernel(const Params p, int lanes) {
  extern __shared__ float weights[];  // [Colours, Count, packs]
  const int packs = static_cast<int>(p.channels / Count);
  const int64_t pixels = p.height * p.width;
  const int groups = kImageThreads / lanes;
  const int lane = threadIdx.x % lanes;
  const int group = threadIdx.x / lanes;
  for (int64_t sample = blockIdx.y; sample < p.batch; sample += gridDim.y) {
    load_weights<Count, Colours>(p, sample, packs, weights);
    __syncthreads();
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
      write_image<Colours>(p, sample, first, lanes, lane, sums);
    }
    __syncthreads();
  }
}

template <typename T, int Count, int Colours>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  const int64_t packs = p.channels / Count;
  const size_t shared = sizeof(float) * Colours * Count * packs;
  const ImageLaunch shape = image_launch(p, packs, shared);
  if (!shape.fits) return cudaErrorInvalidValue;
  to_rgb_kernel<T, Count, Colours><<<shape.grid, kImageThreads, shared, stream>>>(p, shape.lanes);
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
