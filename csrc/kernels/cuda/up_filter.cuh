// The filter behind an up-sampling convolution, in the same kernel: the transposed convolution's
// result never reaches memory.
//
// A tile's 8 x 16 positions, from one before its first on, give 16 x 32 values of the transposed
// convolution. They go to shared memory, rounded as a convolution's result always is, and the four
// taps make 12 x 28 outputs of them. Values outside the result are zeros, because the inputs are.
#pragma once

#include "kernels/cuda/conv_tile.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/shared/activation.h"

namespace deltafast::cuda {

constexpr int kUpRows = 16, kUpColumns = 32, kUpPacks = 4, kUpTaps = 4;
constexpr int kUpOutRows = kUpRows - kUpTaps, kUpOutColumns = kUpColumns - kUpTaps;
// Even columns of a row lie side by side, and so do odd ones, four banks apart from them: neither
// writing a phase nor reading neighbours makes lanes meet in a bank.
constexpr int kUpPlane = (kUpColumns / 2 + 1) * kUpPacks;  // packs
constexpr int kUpTileBytes = kUpRows * 2 * kUpPlane * kPackBytes;

__device__ __forceinline__ int up_place(int row, int column, int pack) {
  return (2 * row + column % 2) * kUpPlane + column / 2 * kUpPacks + pack;
}

template <typename T, typename Tile>
__device__ __forceinline__ void finish_filtered(const ImplicitConvParams& p,
                                                const TileCorner& corner, int slice, void* memory,
                                                const ConvSums<Tile>& sums) {
  static_assert(Tile::kRows == kUpRows / 2 && Tile::kOutputs == kUpPacks * kPackChannels);
  const EpilogueParams<float>& e = p.epilogue;
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  auto* tile = static_cast<Pack<T, kPackChannels>*>(memory);
#pragma unroll
  for (int phase = 0; phase < Tile::kPhases; ++phase) {
#pragma unroll
    for (int r = 0; r < Tile::kWarpRows; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 2 * (warp * Tile::kWarpRows + r) + phase / 2;
        const int column = 2 * (lane / 4 + 8 * half) + phase % 2;
        Pack<T, kPackChannels> out;
#pragma unroll
        for (int j = 0; j < kPackChannels; ++j) {
          out.at[j] = from_float<T>(sums[phase][r][j / 2][2 * half + j % 2]);
        }
        tile[up_place(row, column, lane % 4)] = out;
      }
    }
  }
  __syncthreads();
  // A thread walks down a column of outputs and keeps its last four rows, filtered across.
  const int pack = threadIdx.x % kUpPacks, column = threadIdx.x / kUpPacks;
  const int channel = slice * Tile::kOutputs + pack * kPackChannels;
  const int first_y = 2 * (corner.y + Tile::kEarly), x = 2 * (corner.x + Tile::kEarly) + column;
  if (column >= kUpOutColumns || channel >= e.channels || x >= p.out_w) return;
  float f[kUpTaps], demod[kPackChannels], bias[kPackChannels], style[kPackChannels];
#pragma unroll
  for (int t = 0; t < kUpTaps; ++t) f[t] = __ldg(p.filter + kUpTaps - 1 - t);
  const int64_t coefficients = int64_t(corner.sample) * e.channels + channel;
#pragma unroll
  for (int j = 0; j < kPackChannels; ++j) {
    demod[j] = (e.demod ? __ldg(e.demod + coefficients + j) : 1.0f) * p.filter_gain;
    bias[j] = e.bias ? __ldg(e.bias + channel + j) : 0.0f;
    style[j] = e.style ? __ldg(e.style + coefficients + j) : 1.0f;
  }
  const float strength = e.strength ? __ldg(e.strength) : 1.0f;
  float ring[kUpTaps][kPackChannels];
#pragma unroll 1
  for (int turn = 0; turn < kUpRows; turn += kUpTaps) {
#pragma unroll
    for (int slot = 0; slot < kUpTaps; ++slot) {
#pragma unroll
      for (int j = 0; j < kPackChannels; ++j) ring[slot][j] = 0.0f;
#pragma unroll
      for (int t = 0; t < kUpTaps;
           ++t) {  // output x sees x - 1 to x + 2, one further on in the tile
        const Pack<T, kPackChannels> in = tile[up_place(turn + slot, column + 1 + t, pack)];
#pragma unroll
        for (int j = 0; j < kPackChannels; ++j) ring[slot][j] += f[t] * to_float(in.at[j]);
      }
      const int y = first_y + turn + slot - kUpTaps;  // sees the four rows up to this one
      if (turn == 0 || y >= p.out_h) continue;
      const int64_t pixel = int64_t(y) * p.out_w + x;
      const float* noise = e.noise + corner.sample * e.noise_stride + pixel;
      const float shift = e.noise ? strength * __ldg(noise) : 0.0f;
      Pack<T, kPackChannels> out;
#pragma unroll
      for (int j = 0; j < kPackChannels; ++j) {
        float sum = 0.0f;
#pragma unroll
        for (int t = 0; t < kUpTaps; ++t) sum += f[t] * ring[(slot + 1 + t) % kUpTaps][j];
        out.at[j] =
            from_float<T>(activate(e.activation, demod[j] * sum + shift + bias[j]) * style[j]);
      }
      store_pack<T, kPackChannels>(e.y, (corner.sample * e.pixels + pixel) * e.channels + channel,
                                   out);
    }
  }
}

}  // namespace deltafast::cuda
