// CUDA kernels of activated_depthwise: one block of 256 threads for each tile, whose steps are in
// activated_depthwise.cuh. Tiles lie in shared memory in the element type, everything else is fp32.
// No atomics: sums are made in a fixed order, so every run gives the same bits.

#include "kernels/cuda/activated_depthwise.cuh"

namespace deltafast::cuda {
namespace {

using Params = ActivatedDepthwiseParams;

template <typename T, int Count>
struct Packed {
  using Value = T;
  static constexpr int kCount = Count;

  using Raw = Pack<T, Count>;

  static __device__ __forceinline__ Raw fetch(const void* base, int64_t index) {
    return load_pack<T, Count>(base, index);
  }

  static __device__ __forceinline__ void widen(const Raw& raw, float* out) {
#pragma unroll
    for (int j = 0; j < Count; ++j) out[j] = to_float(raw.at[j]);
  }

  static __device__ __forceinline__ void load(const void* base, int64_t index, float* out) {
    widen(fetch(base, index), out);
  }

  static __device__ __forceinline__ void coefficients(const float* base, int64_t index,
                                                      float otherwise, float* out) {
    constexpr int kAtATime = Count % 4 == 0 ? 4 : 1;
#pragma unroll
    for (int j = 0; j < Count; j += kAtATime) {
      Pack<float, kAtATime> part;
      if (base) part = load_pack<float, kAtATime>(base, index + j);
#pragma unroll
      for (int i = 0; i < kAtATime; ++i) out[j + i] = base ? part.at[i] : otherwise;
    }
  }

  static __device__ __forceinline__ void store(void* base, int64_t index, const float* values) {
    Pack<T, Count> pack;
#pragma unroll
    for (int j = 0; j < Count; ++j) pack.at[j] = from_float<T>(values[j]);
    store_pack<T, Count>(base, index, pack);
  }
};

template <typename E, bool Wavelet>
__global__ void __launch_bounds__(kTileThreads, 2)
    forward_kernel(const Params p, int64_t tiles, int64_t units) {
  __shared__ DepthwiseTile<E> tile;
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const TilePlace place = tile_place<E>(p, tiles, unit);
    load_taps<E>(p, place, thread, tile);
    if (Wavelet) {
      load_merged<E>(p, place, thread, tile);
    } else {
      load_pixels<false>(p, place, thread, tile);
    }
    __syncthreads();
    Quad<E> quad;
    filter_quad<false>(thread, tile, quad);
    store_quad(p, place, thread, quad);
    __syncthreads();  // before the next tile is written over this one
  }
}

template <typename E, bool Wavelet>
__global__ void __launch_bounds__(kTileThreads, 1)
    backward_kernel(const Params p, int64_t tiles, int64_t units) {
  __shared__ DepthwiseTile<E> tile;
  __shared__ float sums[kTileQuads][kTilePacks * E::kCount];
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const TilePlace place = tile_place<E>(p, tiles, unit);
    load_taps<E>(p, place, thread, tile);
    load_pixels<true>(p, place, thread, tile);
    __syncthreads();
    Quad<E> quad;
    filter_quad<true>(thread, tile, quad);
    float* own = &sums[thread / kTilePacks][thread % kTilePacks * E::kCount];
#pragma unroll
    for (int band = 0; band < (Wavelet ? 4 : 1); ++band) {
      float values[E::kCount];
      if (Wavelet) {
        backward_band(p, place, thread, band, quad, values);
      } else {
        backward_quad(p, place, thread, quad, values);
      }
#pragma unroll
      for (int j = 0; j < E::kCount; ++j) own[j] = values[j];
      __syncthreads();
      if (p.partials) reduce_sums<E>(p, place, tiles, band, thread, sums);
      __syncthreads();  // before the sums, and the tile, are written over
    }
  }
}

// grad_style from the tiles' sums, added up in double: one thread for each (sample, channel).
__global__ void __launch_bounds__(256)
    finish_style_kernel(const Params p, int64_t tiles, int64_t width_of_u) {
  const int64_t count = p.batch * width_of_u;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t sample = i / width_of_u, channel = i % width_of_u;
    double total = 0.0;
    for (int64_t tile = 0; tile < tiles; ++tile)
      total += p.partials[(sample * tiles + tile) * width_of_u + channel];
    p.grad_style[i] = static_cast<float>(total);
  }
}

template <typename E>
cudaError_t launch(const Params& p, bool backward, cudaStream_t stream) {
  const int64_t tiles = depthwise_tiles(p.height, p.width);
  const int64_t units = p.batch * tiles * depthwise_groups(p, E::kCount);
  const unsigned blocks = blocks_for(units);
  if (backward && p.wavelet) {
    backward_kernel<E, true><<<blocks, kTileThreads, 0, stream>>>(p, tiles, units);
  } else if (backward) {
    backward_kernel<E, false><<<blocks, kTileThreads, 0, stream>>>(p, tiles, units);
  } else if (p.wavelet) {
    forward_kernel<E, true><<<blocks, kTileThreads, 0, stream>>>(p, tiles, units);
  } else {
    forward_kernel<E, false><<<blocks, kTileThreads, 0, stream>>>(p, tiles, units);
  }
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess || !backward || !p.grad_style) return error;
  const int64_t width_of_u = p.wavelet ? 4 * p.channels : p.channels;
  const unsigned finishing = blocks_for((p.batch * width_of_u + 255) / 256);
  finish_style_kernel<<<finishing, 256, 0, stream>>>(p, tiles, width_of_u);
  return cudaGetLastError();
}

cudaError_t run(const Params& p, bool backward, const CudaTarget& target) {
  constexpr int64_t kMaxPixels = int64_t(1) << 30;  // coordinates are 32-bit
  if (p.height > kMaxPixels || p.width > kMaxPixels) return cudaErrorInvalidValue;
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kPack = 16 / sizeof(T);
    const bool packed = p.channels % kPack == 0 && is_aligned(p.u, 16) && is_aligned(p.z, 16) &&
                        is_aligned(p.grad, 16) && is_aligned(p.grad_u, 16) &&
                        is_aligned(p.bias, 16) && is_aligned(p.style, 16);
    return packed ? launch<Packed<T, kPack>>(p, backward, stream)
                  : launch<Packed<T, 1>>(p, backward, stream);
  });
}

}  // namespace

int activated_depthwise(const ActivatedDepthwiseParams& params, const CudaTarget& target) {
  return run(params, false, target);
}

int activated_depthwise_backward(const ActivatedDepthwiseParams& params, const CudaTarget& target) {
  return run(params, true, target);
}

}  // namespace deltafast::cuda
