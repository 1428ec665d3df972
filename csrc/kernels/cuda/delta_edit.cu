// CUDA kernel of the edit. A block takes one W+ slot of a band of latents: it copies the slot, or
// edits it, D's hidden layers staying in shared memory. Lanes run along the outputs of a layer; a
// thread holds a few rows of one output in registers.

#include "kernels/cuda/delta_rows.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/delta_edit.h"

namespace deltafast::cuda {
namespace {

using Params = DeltaEditParams<float>;

constexpr int kChunk = 64;  // components of the latents in shared memory at a time

__device__ __forceinline__ float activated(float v) {
  return v > 0.0f ? v : v * static_cast<float>(kDeltaSlope);
}

// Shared memory, in floats: the chunk, and `buffers` hidden layers.
int64_t shared_floats(const DeltaSizes& s, int rows) {
  const int64_t width = padded(s.width);
  return rows * (kChunk + width * (s.layers > 1 ? 4 : 2));
}

template <typename T>
__device__ __forceinline__ void copy_slot(const Params& p, int64_t first, int rows, int at) {
  const int64_t inputs = p.sizes.inputs;
  for (int r = 0; r < rows; ++r) {
    const int64_t row = ((first + r) * p.num_ws + at) * inputs;
    for (int64_t c = threadIdx.x; c < inputs; c += kThreads) {
      static_cast<T*>(p.y)[row + c] = static_cast<const T*>(p.ws)[row + c];
    }
  }
}

// One of D's other hidden layers, from `below` to `above`.
template <int Rows>
__device__ __forceinline__ void next_layer(const Params& p, int layer, int slot, const float* below,
                                           float* above) {
  const int width = static_cast<int>(p.sizes.width), ld = padded(width);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t at = layer * p.sizes.slots + slot;
  for (int h = lane; h < ld; h += kWarp) {
    float sums[Rows] = {};
    if (h < width) {
      accumulate<Rows>(sums, below + warp * Rows * ld, ld, width,
                       p.hidden_weight + at * width * width + h, width);
    }
    const float bias = h < width ? __ldg(p.hidden_bias + at * width + h) : 0.0f;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      above[(warp * Rows + r) * ld + h] = h < width ? activated(sums[r] + bias) : 0.0f;
    }
  }
}

template <typename T, int Rows>
__global__ void __launch_bounds__(kThreads, 2) edit_kernel(const Params p) {
  extern __shared__ __align__(16) float shared[];
  constexpr int kRows = kWarps * Rows;
  const int at = blockIdx.y;
  int slot = 0;
  while (slot < p.sizes.slots && __ldg(p.index + slot) != at) ++slot;
  const int inputs = static_cast<int>(p.sizes.inputs), width = static_cast<int>(p.sizes.width);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int ld = padded(width);
  const float scale = __ldg(p.scale), inverse = 1.0f / scale;
  float* chunk = shared;  // [kRows, kChunk]
  float* with = chunk + kRows * kChunk;
  float* without = with + kRows * ld;
  float* spare_with = without + kRows * ld;
  float* spare_without = spare_with + kRows * ld;

  for (int64_t band = blockIdx.x; band * kRows < p.samples; band += gridDim.x) {
    const int64_t first = band * kRows;
    const int rows = static_cast<int>(p.samples - first < kRows ? p.samples - first : kRows);
    if (slot == p.sizes.slots) {
      copy_slot<T>(p, first, rows, at);
      continue;
    }
    const T* ws = static_cast<const T*>(p.ws) + (first * p.num_ws + at) * inputs;
    T* y = static_cast<T*>(p.y) + (first * p.num_ws + at) * inputs;
    const int64_t stride = p.num_ws * inputs;

    // The first layer, 32 outputs at a time; more than 32 read the latents again, from cache.
    for (int h0 = 0; h0 < ld; h0 += kWarp) {
      const int h = h0 + lane;
      float sums[Rows] = {};
      for (int c0 = 0; c0 < inputs; c0 += kChunk) {
        const int count = inputs - c0 < kChunk ? inputs - c0 : kChunk;
        __syncthreads();
        for (int i = threadIdx.x; i < kRows * kChunk; i += kThreads) {
          const int r = i / kChunk, c = i % kChunk;
          float value = 0.0f;
          if (r < rows && c < count) {
            const float mean = __ldg(p.mean + int64_t(slot) * inputs + c0 + c);
            value = (to_float(ws[r * stride + c0 + c]) - mean) * inverse;
          }
          chunk[i] = value;
        }
        __syncthreads();
        if (h < width) {
          accumulate<Rows>(sums, chunk + warp * Rows * kChunk, kChunk, count,
                           p.latent_weight + (int64_t(slot) * inputs + c0) * width + h, width);
        }
      }
      if (h >= ld) continue;
      const float bias = h < width ? __ldg(p.latent_bias + int64_t(slot) * width + h) : 0.0f;
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        const int row = warp * Rows + r;
        float base = 0.0f, moved = 0.0f;
        if (h < width && row < rows) {
          const float alpha = __ldg(p.alpha + first + row);
          const int64_t side = (alpha < 0.0f ? p.sizes.slots : 0) + slot;
          base = sums[r] + bias;
          moved = base + fabsf(alpha) * __ldg(p.direction + (first + row) * p.direction_stride +
                                              side * width + h);
        }
        with[row * ld + h] = activated(moved);
        without[row * ld + h] = activated(base);
      }
    }
    __syncthreads();

    float* moved = with;
    float* rest = without;
    for (int k = 0; k + 1 < p.sizes.layers; ++k) {
      float* next = moved == with ? spare_with : with;
      next_layer<Rows>(p, k, slot, moved, next);
      moved = next;
      next = rest == without ? spare_without : without;
      next_layer<Rows>(p, k, slot, rest, next);
      rest = next;
      __syncthreads();
    }
    if (!p.output_bias) {  // the last layer is linear: exactly 0 at alpha = 0
      for (int i = threadIdx.x; i < kRows * ld; i += kThreads) moved[i] -= rest[i];
      __syncthreads();
    }

    for (int c = lane; c < inputs; c += kWarp) {
      float sums[Rows] = {};
      accumulate<Rows>(sums, moved + warp * Rows * ld, ld, width,
                       p.output_weight + int64_t(slot) * width * inputs + c, inputs);
      const float bias = p.output_bias ? __ldg(p.output_bias + int64_t(slot) * inputs + c) : 0.0f;
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        const int row = warp * Rows + r;
        if (row < rows) {
          const float old = to_float(ws[row * stride + c]);
          y[row * stride + c] = from_float<T>(old + (sums[r] + bias) * scale);
        }
      }
    }
    __syncthreads();
  }
}

template <typename T, int Rows>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  constexpr int kRows = kWarps * Rows;
  const int64_t bands = (p.samples + kRows - 1) / kRows;
  const dim3 grid(blocks_for(bands), static_cast<unsigned>(p.num_ws));
  const size_t bytes = sizeof(float) * shared_floats(p.sizes, kRows);
  edit_kernel<T, Rows><<<grid, kThreads, bytes, stream>>>(p);
  return cudaGetLastError();
}

bool fits(const Params& p, int rows) {
  return sizeof(float) * shared_floats(p.sizes, kWarps * rows) <= kMaxShared;
}

}  // namespace

bool delta_edit_fits(const DeltaEditParams<float>& p, const CudaTarget&) {
  return fits(p, 1) && p.num_ws <= 65535;
}

int delta_edit(const DeltaEditParams<float>& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    if (fits(p, 8)) return launch<T, 8>(p, stream);
    return fits(p, 4) ? launch<T, 4>(p, stream) : launch<T, 1>(p, stream);
  });
}

}  // namespace deltafast::cuda
