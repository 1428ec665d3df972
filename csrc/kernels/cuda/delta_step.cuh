// What the kernels of a training step of E and D share. Everything is fp32 but x; no atomics; every
// sum has an order of its own that follows from the shape alone.
#pragma once

#include "kernels/cuda/element.cuh"
#include "kernels/delta_loss.h"
#include "kernels/shared/philox.h"

namespace deltafast::cuda {

// The launches of a step, in this order; each returns at once, with the launch's error.
cudaError_t delta_embed(const DeltaLossParams<float>& p, const CudaTarget& target);
cudaError_t delta_pairs(const DeltaLossParams<float>& p, const CudaTarget& target);
cudaError_t delta_collect(const DeltaLossParams<float>& p, const CudaTarget& target);
cudaError_t delta_weights(const DeltaLossParams<float>& p, const CudaTarget& target);

namespace {

using Params = DeltaLossParams<float>;

constexpr int kWarp = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kWarp * kWarps;
constexpr size_t kBlockSumShared = kWarps * sizeof(float);  // static, in block_sum
constexpr size_t kMaxShared = 48 * 1024 - kBlockSumShared;  // dynamic, beside it

// Parts of the workspace, in floats from its beginning.
struct Workspace {
  float* losses;       // [slots, pairs]
  float* squares;      // [slots, width + 1, width]: W_output W_output^T, and W_output bias
  float* bias_square;  // [slots]
  float* tables;       // [kFrameTables, slots, pairs, frames, width]
  float* sums;         // [slots, pairs, PairSums]
  float* totals;       // [slots, PairSums]
  float* scratch;      // [slots, pairs, pair_floats]; not there where it fits shared memory
  int64_t floats;
};

// What a block of the second kernel needs, in floats.
__host__ __device__ int64_t pair_floats(const Params& p) {
  const DeltaSizes& s = p.sizes;
  const int64_t rows = p.frames * (p.frames - 1);
  return rows * (s.width * (2 * s.layers + 4) + s.dim) + p.frames * s.width;
}

__host__ __device__ bool pairs_fit(const Params& p) {
  return pair_floats(p) * static_cast<int64_t>(sizeof(float)) <= static_cast<int64_t>(kMaxShared);
}

__host__ __device__ Workspace workspace(const Params& p) {
  const DeltaSizes& s = p.sizes;
  const auto round = [](int64_t count) { return (count + 31) / 32 * 32; };
  const int64_t losses = round(s.slots * p.pairs);
  const int64_t squares = round(s.slots * (s.width + 1) * s.width);
  const int64_t bias_square = round(s.slots);
  const int64_t tables = round(kFrameTables * s.slots * p.pairs * p.frames * s.width);
  const int64_t sums = round(s.slots * p.pairs * pair_sums(s).count);
  const int64_t totals = round(s.slots * pair_sums(s).count);
  const int64_t scratch = pairs_fit(p) ? 0 : round(s.slots * p.pairs * pair_floats(p));
  Workspace w{};
  w.floats = losses + squares + bias_square + tables + sums + totals + scratch;
  w.losses = static_cast<float*>(p.workspace);
  w.squares = w.losses + losses;
  w.bias_square = w.squares + squares;
  w.tables = w.bias_square + bias_square;
  w.sums = w.tables + tables;
  w.totals = w.sums + sums;
  w.scratch = w.totals + totals;
  return w;
}

__device__ __forceinline__ float* table_at(const Params& p, const Workspace& w, int which,
                                           int64_t slot, int64_t frame) {
  return w.tables + ((which * p.sizes.slots + slot) * p.pairs * p.frames + frame) * p.sizes.width;
}

// The number of components of all changes; computed on the host, for a division in double costs a
// kernel many registers.
inline double change_components(const Params& p) {
  return static_cast<double>(p.pairs) * static_cast<double>(p.frames * (p.frames - 1)) *
         static_cast<double>(p.sizes.slots * p.sizes.inputs);
}

// The factors of a's and b's gradients.
struct Scales {
  float a;
  float b;
};

inline Scales gradient_scales(const Params& p) {
  const double components = change_components(p);
  return {static_cast<float>(2.0 * p.lambda_a / components),
          static_cast<float>(2.0 * p.lambda_b / components)};
}

// Component c of a frame; NaN where there is no such identity.
template <typename T>
__device__ __forceinline__ float component(const Params& p, int64_t slot, int64_t identity,
                                           int64_t frame, int64_t c) {
  if (identity < 0 || identity >= p.identities) return __int_as_float(0x7FC00000);
  const int64_t at = ((slot * p.identities + identity) * p.frames + frame) * p.sizes.inputs + c;
  return to_float(static_cast<const T*>(p.x)[at]);
}

// Noise of pairs [first, first + pairs) for `columns` elements from `element` on, to
// out[pair][column].
__device__ void fill_noise(const Params& p, int stream, int64_t first, int pairs, int64_t element,
                           int columns, float* out) {
  const int64_t block = element / 4;
  const int blocks = static_cast<int>((element + columns - 1) / 4 - block) + 1;
  const int64_t seed = *p.key.seed, step = *p.key.step, sample = *p.key.first_sample + first;
  for (int i = threadIdx.x; i < pairs * blocks; i += kThreads) {
    const int pair = i / blocks, quad = i % blocks;
    const NoiseSource source = noise_source(seed, step, sample + pair, stream);
    const Philox words = noise_bits(source, static_cast<uint32_t>(block + quad));
    const NormalPair even = normals_of(words.at[0], words.at[1]);
    const NormalPair odd = normals_of(words.at[2], words.at[3]);
    const float values[4] = {even.at[0], even.at[1], odd.at[0], odd.at[1]};
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) {
      const int64_t column = (block + quad) * 4 + lane - element;
      if (column >= 0 && column < columns) out[pair * columns + column] = values[lane];
    }
  }
}

// Sums a value over the block, in a fixed order; every thread gets the result.
__device__ __forceinline__ float block_sum(float value) {
  __shared__ float warps[kWarps];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xffffffffu, value, offset);
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  float total = 0.0f;
  for (int i = 0; i < kWarps; ++i) total += warps[i];
  return total;
}

}  // namespace
}  // namespace deltafast::cuda
