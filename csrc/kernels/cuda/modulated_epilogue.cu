// CUDA kernels of the fused epilogue. x is seen as [rows, columns] with contiguous columns: NCHW
// has N * C rows of H * W pixels, NHWC has N * H * W rows of C channels. Arithmetic is fp32
// whatever the element type; results are rounded once. No atomics: sums are made in a fixed order,
// so every run gives the same bits.

#include "kernels/cuda/element.cuh"
#include "kernels/modulated_epilogue.h"
#include "kernels/shared/activation.h"

namespace deltafast::cuda {
namespace {

using Params = EpilogueParams<float>;

__device__ __forceinline__ float noise_strength(const Params& p) {
  return p.strength ? __ldg(p.strength) : 1.0f;
}

__device__ __forceinline__ float demod_at(const Params& p, int64_t sample, int64_t channel) {
  return p.demod ? __ldg(p.demod + sample * p.channels + channel) : 1.0f;
}

__device__ __forceinline__ float bias_at(const Params& p, int64_t channel) {
  return p.bias ? __ldg(p.bias + channel) : 0.0f;
}

__device__ __forceinline__ float style_at(const Params& p, int64_t sample, int64_t channel) {
  return p.style ? __ldg(p.style + sample * p.channels + channel) : 1.0f;
}

__device__ __forceinline__ float noise_at(const Params& p, int64_t sample, int64_t pixel) {
  return p.noise ? __ldg(p.noise + sample * p.noise_stride + pixel) : 0.0f;
}

template <typename T, int Count, bool ChannelsLast>
__global__ void __launch_bounds__(256) forward_kernel(const Params p) {
  const int64_t rows = ChannelsLast ? p.batch * p.pixels : p.batch * p.channels;
  const int64_t columns = ChannelsLast ? p.channels : p.pixels;
  const int64_t packs = columns / Count;
  const float strength = noise_strength(p);
  for (int64_t row = int64_t(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += int64_t(gridDim.y) * blockDim.y) {
    const int64_t sample = ChannelsLast ? row / p.pixels : row / p.channels;
    const int64_t row_index =
        row - sample * (ChannelsLast ? p.pixels : p.channels);  // pixel, or channel
    float demod = 1.0f, bias = 0.0f, style = 1.0f, shift = 0.0f;
    if (ChannelsLast) {
      shift = strength * noise_at(p, sample, row_index);
    } else {
      demod = demod_at(p, sample, row_index);
      bias = bias_at(p, row_index);
      style = style_at(p, sample, row_index);
    }
    for (int64_t pack = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; pack < packs;
         pack += int64_t(gridDim.x) * blockDim.x) {
      const int64_t column = pack * Count;
      const int64_t at = row * columns + column;
      const Pack<T, Count> in = load_pack<T, Count>(p.x, at);
      Pack<T, Count> out;
#pragma unroll
      for (int j = 0; j < Count; ++j) {
        if (ChannelsLast) {
          demod = demod_at(p, sample, column + j);
          bias = bias_at(p, column + j);
          style = style_at(p, sample, column + j);
        } else {
          shift = strength * noise_at(p, sample, column + j);
        }
        const float u = demod * to_float(in.at[j]) + shift + bias;
        out.at[j] = from_float<T>(activate(p.activation, u) * style);
      }
      store_pack<T, Count>(p.y, at, out);
    }
  }
}

struct Gradient {
  float g;      // what reaches u
  float value;  // clamped activation
};

__device__ __forceinline__ Gradient gradient(const Params& p, float u, float grad, float style) {
  const float v = activate_unclamped(p.activation, u);
  return {grad * style * activation_slope(p.activation, u, v),
          clamp_symmetric(v, p.activation.clamp)};
}

__device__ __forceinline__ void write_partials(const Params& p, int64_t row, int64_t split,
                                               const float* sums) {
  float* out = static_cast<float*>(p.partials) + (row * p.splits + split) * kEpilogueSums;
#pragma unroll
  for (int s = 0; s < kEpilogueSums; ++s) out[s] = sums[s];
}

constexpr int kWarp = 32;
constexpr int kReduceThreads = 256;

// One block for each split of the pixels of one (sample, channel).
template <typename T>
__global__ void __launch_bounds__(kReduceThreads) backward_nchw_kernel(const Params p) {
  __shared__ float warps[kReduceThreads / kWarp][kEpilogueSums];
  const float strength = noise_strength(p);
  const int64_t units = p.batch * p.channels * p.splits;
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const int64_t plane = unit / p.splits;
    const int64_t split = unit % p.splits;
    const int64_t sample = plane / p.channels;
    const int64_t channel = plane % p.channels;
    const float demod = demod_at(p, sample, channel);
    const float bias = bias_at(p, channel);
    const float style = style_at(p, sample, channel);
    const int64_t last = p.pixels * (split + 1) / p.splits;
    float sums[kEpilogueSums] = {};
    for (int64_t i = p.pixels * split / p.splits + threadIdx.x; i < last; i += blockDim.x) {
      const int64_t at = plane * p.pixels + i;
      const float x = to_float(static_cast<const T*>(p.x)[at]);
      const float grad = to_float(static_cast<const T*>(p.grad)[at]);
      const float noise = noise_at(p, sample, i);
      const Gradient d = gradient(p, demod * x + strength * noise + bias, grad, style);
      static_cast<T*>(p.grad_x)[at] = from_float<T>(d.g * demod);
      sums[kSumGradX] += d.g * x;
      sums[kSumGrad] += d.g;
      sums[kSumGradNoise] += d.g * noise;
      sums[kSumStyle] += grad * d.value;
    }
#pragma unroll
    for (int s = 0; s < kEpilogueSums; ++s) {
      for (int offset = kWarp / 2; offset > 0; offset /= 2)
        sums[s] += __shfl_down_sync(0xffffffffu, sums[s], offset);
      if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp][s] = sums[s];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int s = 0; s < kEpilogueSums; ++s) {
        for (int w = 1; w < kReduceThreads / kWarp; ++w) warps[0][s] += warps[w][s];
      }
      write_partials(p, plane, split, warps[0]);
    }
    __syncthreads();
  }
}

constexpr int kTileRows = 8;

// One block for each (32 channels, split of the pixels, sample); a warp reads 32 neighbouring
// channels of one pixel.
template <typename T>
__global__ void __launch_bounds__(kWarp* kTileRows) backward_nhwc_kernel(const Params p) {
  __shared__ float tile[kTileRows][kEpilogueSums][kWarp];
  const float strength = noise_strength(p);
  const int64_t channel = int64_t(blockIdx.x) * kWarp + threadIdx.x;
  const bool inside = channel < p.channels;
  const int64_t units = p.batch * p.splits;
  for (int64_t unit = blockIdx.y; unit < units; unit += gridDim.y) {
    const int64_t sample = unit / p.splits;
    const int64_t split = unit % p.splits;
    const int64_t last = p.pixels * (split + 1) / p.splits;
    float sums[kEpilogueSums] = {};
    if (inside) {
      const float demod = demod_at(p, sample, channel);
      const float bias = bias_at(p, channel);
      const float style = style_at(p, sample, channel);
      for (int64_t i = p.pixels * split / p.splits + threadIdx.y; i < last; i += kTileRows) {
        const int64_t at = (sample * p.pixels + i) * p.channels + channel;
        const float x = to_float(static_cast<const T*>(p.x)[at]);
        const float grad = to_float(static_cast<const T*>(p.grad)[at]);
        const float noise = noise_at(p, sample, i);
        const Gradient d = gradient(p, demod * x + strength * noise + bias, grad, style);
        static_cast<T*>(p.grad_x)[at] = from_float<T>(d.g * demod);
        sums[kSumGradX] += d.g * x;
        sums[kSumGrad] += d.g;
        sums[kSumGradNoise] += d.g * noise;
        sums[kSumStyle] += grad * d.value;
      }
    }
#pragma unroll
    for (int s = 0; s < kEpilogueSums; ++s) tile[threadIdx.y][s][threadIdx.x] = sums[s];
    __syncthreads();
    if (threadIdx.y == 0 && inside) {
      for (int s = 0; s < kEpilogueSums; ++s) {
        for (int r = 1; r < kTileRows; ++r) sums[s] += tile[r][s][threadIdx.x];
      }
      write_partials(p, sample * p.channels + channel, split, sums);
    }
    __syncthreads();
  }
}

// Adds up the splits, in double: one thread for each (sample, channel, sum).
__global__ void __launch_bounds__(256) finish_sums_kernel(const Params p) {
  const int64_t count = p.batch * p.channels * kEpilogueSums;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += int64_t(gridDim.x) * blockDim.x) {
    const float* partials =
        static_cast<const float*>(p.partials) + i / kEpilogueSums * p.splits * kEpilogueSums;
    double total = 0.0;
    for (int64_t split = 0; split < p.splits; ++split)
      total += partials[split * kEpilogueSums + i % kEpilogueSums];
    p.sums[i] = static_cast<float>(total);
  }
}

// grad_noise = strength * sum over channels of g: one thread for each pixel of each sample.
template <typename T, bool ChannelsLast>
__global__ void __launch_bounds__(256) grad_noise_kernel(const Params p) {
  const float strength = noise_strength(p);
  const int64_t count = p.batch * p.pixels;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t sample = i / p.pixels;
    const int64_t pixel = i % p.pixels;
    const float shift = strength * noise_at(p, sample, pixel);
    float sum = 0.0f;
    for (int64_t c = 0; c < p.channels; ++c) {
      const int64_t at =
          ChannelsLast ? i * p.channels + c : (sample * p.channels + c) * p.pixels + pixel;
      const float x = to_float(static_cast<const T*>(p.x)[at]);
      const float grad = to_float(static_cast<const T*>(p.grad)[at]);
      const float u = demod_at(p, sample, c) * x + shift + bias_at(p, c);
      sum += gradient(p, u, grad, style_at(p, sample, c)).g;
    }
    p.grad_noise[i] = strength * sum;
  }
}

template <typename T, int Count>
cudaError_t launch_forward(const Params& p, cudaStream_t stream) {
  const int64_t rows = p.channels_last ? p.batch * p.pixels : p.batch * p.channels;
  const int64_t columns = p.channels_last ? p.channels : p.pixels;
  const Launch launch = launch_shape(rows, columns / Count);
  if (p.channels_last) {
    forward_kernel<T, Count, true><<<launch.grid, launch.block, 0, stream>>>(p);
  } else {
    forward_kernel<T, Count, false><<<launch.grid, launch.block, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace

int modulated_epilogue(const EpilogueParams<float>& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kPack = 16 / sizeof(T);
    const int64_t columns = p.channels_last ? p.channels : p.pixels;
    const bool packed = columns % kPack == 0 && is_aligned(p.x, 16) && is_aligned(p.y, 16);
    return packed ? launch_forward<T, kPack>(p, stream) : launch_forward<T, 1>(p, stream);
  });
}

int modulated_epilogue_backward(const EpilogueParams<float>& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    if (p.channels_last) {
      const dim3 grid(static_cast<unsigned>((p.channels + kWarp - 1) / kWarp),
                      blocks_for(p.batch * p.splits, kMaxRows));
      backward_nhwc_kernel<T><<<grid, dim3(kWarp, kTileRows), 0, stream>>>(p);
    } else {
      const unsigned blocks = blocks_for(p.batch * p.channels * p.splits);
      backward_nchw_kernel<T><<<blocks, kReduceThreads, 0, stream>>>(p);
    }
    cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
    const int64_t sums = p.batch * p.channels * kEpilogueSums;
    finish_sums_kernel<<<blocks_for((sums + 255) / 256), 256, 0, stream>>>(p);
    error = cudaGetLastError();
    if (error != cudaSuccess || !p.grad_noise) return error;
    const unsigned blocks = blocks_for((p.batch * p.pixels + 255) / 256);
    if (p.channels_last) {
      grad_noise_kernel<T, true><<<blocks, 256, 0, stream>>>(p);
    } else {
      grad_noise_kernel<T, false><<<blocks, 256, 0, stream>>>(p);
    }
    return cudaGetLastError();
  });
}

}  // namespace deltafast::cuda
