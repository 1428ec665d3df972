// The kernel of implicit_conv.h.
//
// A block walks over tiles of positions, and for each over chunks of input channels. A chunk of the
// input tile, halo included, and the chunk's weights for all taps are copied to shared memory
// asynchronously, kStages - 1 chunks ahead; each tap's product reads the same input tile, shifted,
// so every activation comes from memory once. Where the weights of all chunks fit in as many
// places as there are stages, they are loaded once for all tiles. Sums stay in registers until the
// epilogue.
#pragma once

#include "kernels/cuda/conv_image.cuh"
#include "kernels/cuda/conv_tile.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/instructions.cuh"
#include "kernels/cuda/up_filter.cuh"
#include "kernels/implicit_conv.h"
#include "kernels/shared/activation.h"

namespace deltafast::cuda {

// Byte offset of a pack in a buffer of rows of kPacks packs. Eight neighbouring rows, from any on,
// lie in different banks when the same pack of each is read.
template <typename Tile>
__device__ __forceinline__ int swizzled(int row, int pack) {
  const int turn = Tile::kPacks == 4 ? row / 2 % 4 : row / 4 % 2;
  return (row * Tile::kPacks + (pack ^ turn)) * kPackBytes;
}

template <typename T, typename Tile>
__device__ __forceinline__ void load_input(const ImplicitConvParams& p, const TileCorner& corner,
                                           int chunk, unsigned to) {
  const int first_y = corner.y * Tile::kStride - Tile::kBefore;
  const int first_x = corner.x * Tile::kStride - Tile::kBefore;
  const int inputs = static_cast<int>(p.inputs);
  const T* sample = static_cast<const T*>(p.x) + int64_t(corner.sample) * p.in_h * p.in_w * inputs;
  for (int i = threadIdx.x; i < Tile::kInRows * Tile::kInColumns * Tile::kPacks;
       i += Tile::kThreads) {
    const int row = i / Tile::kPacks, pack = i % Tile::kPacks;
    const int y = first_y + row / Tile::kInColumns, x = first_x + row % Tile::kInColumns;
    const int channel = chunk * Tile::kDepth + pack * kPackChannels;
    const bool exists = y >= 0 && y < p.in_h && x >= 0 && x < p.in_w && channel < inputs;
    const int64_t at = exists ? (int64_t(y) * p.in_w + x) * inputs + channel : 0;
    copy_async(to + swizzled<Tile>(row, pack), sample + at, exists);
  }
}

// The weights of all taps, in rows by tap and output channel; see row_channel for their order.
template <typename T, typename Tile>
__device__ __forceinline__ void load_weights(const ImplicitConvParams& p, int slice, int chunk,
                                             unsigned to) {
  const int inputs = static_cast<int>(p.inputs), outputs = static_cast<int>(p.epilogue.channels);
  for (int i = threadIdx.x; i < Tile::kTaps * Tile::kOutputs * Tile::kPacks; i += Tile::kThreads) {
    const int row = i / Tile::kPacks, pack = i % Tile::kPacks;
    const int tap = row / Tile::kOutputs, place = row % Tile::kOutputs;
    const int output = slice * Tile::kOutputs + place / 32 * 32 + row_channel(place % 32);
    const int channel = chunk * Tile::kDepth + pack * kPackChannels;
    const bool exists = output < outputs && channel < inputs;
    const int64_t at = exists ? (int64_t(output) * Tile::kTaps + tap) * inputs + channel : 0;
    copy_async(to + swizzled<Tile>(row, pack), static_cast<const T*>(p.weight) + at, exists);
  }
}

// The tile's inputs, shifted by (down, right), for kWarpRows x 16 positions of this warp and 16
// channels: one fragment of 16 x 16 a row.
template <typename Tile>
__device__ __forceinline__ void load_fragments(unsigned input, int down, int right, int step,
                                               unsigned (&a)[Tile::kWarpRows][4]) {
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
#pragma unroll
  for (int r = 0; r < Tile::kWarpRows; ++r) {
    const int y = (warp * Tile::kWarpRows + r) * Tile::kStride + down;
    const int x = lane % 16 * Tile::kStride + right;
    load_matrices(a[r], input + swizzled<Tile>(y * Tile::kInColumns + x, 2 * step + lane / 16));
  }
}

// Adds the product of the fragments with the weights of one tap to the sums.
template <typename T, typename Tile>
__device__ __forceinline__ void add_tap(unsigned weights, int tap, int step,
                                        const unsigned (&a)[Tile::kWarpRows][4],
                                        float (&sums)[Tile::kWarpRows][Tile::kNarrow][4]) {
  const int lane = threadIdx.x % kLanes;
  const int row = tap * Tile::kOutputs + lane / 16 * 8 + lane % 8;
#pragma unroll
  for (int pair = 0; pair < Tile::kNarrow / 2; ++pair) {
    unsigned b[4];  // of 16 output channels
    load_matrices(b, weights + swizzled<Tile>(row + 16 * pair, 2 * step + lane / 8 % 2));
#pragma unroll
    for (int r = 0; r < Tile::kWarpRows; ++r) {
      multiply<T>(sums[r][2 * pair], a[r], b[0], b[1]);
      multiply<T>(sums[r][2 * pair + 1], a[r], b[2], b[3]);
    }
  }
}

template <typename T, typename Tile>
__device__ __forceinline__ void add_chunk(unsigned input, unsigned weights, ConvSums<Tile>& sums) {
#pragma unroll 1
  for (int step = 0; step < Tile::kPacks / 2; ++step) {
    unsigned a[Tile::kWarpRows][4];
    if constexpr (Tile::kUp) {
      // Output 2 i + k of the transposed convolution sees input i through tap k: taps 0 and 2 meet
      // in the even phase, tap 2 seeing the input before.
#pragma unroll
      for (int before_y = 0; before_y < 2; ++before_y) {
#pragma unroll
        for (int before_x = 0; before_x < 2; ++before_x) {
          load_fragments<Tile>(input, 1 - before_y, 1 - before_x, step, a);
#pragma unroll
          for (int phase_y = 0; phase_y < 2 - before_y; ++phase_y) {
#pragma unroll
            for (int phase_x = 0; phase_x < 2 - before_x; ++phase_x) {
              const int ky = before_y ? 2 : phase_y, kx = before_x ? 2 : phase_x;
              add_tap<T, Tile>(weights, 3 * ky + kx, step, a, sums[2 * phase_y + phase_x]);
            }
          }
        }
      }
    } else {
#pragma unroll 1
      for (int ky = 0; ky < Tile::kSide; ++ky) {
#pragma unroll
        for (int kx = 0; kx < Tile::kSide; ++kx) {
          load_fragments<Tile>(input, ky, kx, step, a);
          add_tap<T, Tile>(weights, Tile::kSide * ky + kx, step, a, sums[0]);
        }
      }
    }
  }
}

// The sums as they are, of one group of 32 output channels.
template <typename T, typename Tile>
__device__ __forceinline__ void store_sums(const ImplicitConvParams& p, const TileCorner& corner,
                                           int group, int channel, const ConvSums<Tile>& sums) {
  const EpilogueParams<float>& e = p.epilogue;
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  constexpr int kScale = Tile::kUp ? 2 : 1;
#pragma unroll
  for (int phase = 0; phase < Tile::kPhases; ++phase) {
#pragma unroll
    for (int r = 0; r < Tile::kWarpRows; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int y = (corner.y + warp * Tile::kWarpRows + r) * kScale + phase / 2;
        const int x = (corner.x + lane / 4 + 8 * half) * kScale + phase % 2;
        Pack<T, kPackChannels> out;
#pragma unroll
        for (int j = 0; j < kPackChannels; ++j) {
          out.at[j] = from_float<T>(sums[phase][r][4 * group + j / 2][2 * half + j % 2]);
        }
        if (y >= p.out_h || x >= p.out_w || channel >= e.channels) continue;
        const int64_t at = corner.sample * e.pixels + int64_t(y) * p.out_w + x;
        store_pack<T, kPackChannels>(e.y, at * e.channels + channel, out);
      }
    }
  }
}

// A lane's pixels are numbered 2 r + half: row r of its warp, half 0 the left eight.
template <typename Tile>
constexpr int kLanePixels = 2 * Tile::kWarpRows;

template <typename T, typename Tile>
__device__ __forceinline__ void finish_tile(const ImplicitConvParams& p, const TileCorner& corner,
                                            int slice, const ConvSums<Tile>& sums) {
  const EpilogueParams<float>& e = p.epilogue;
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const int first_channel = slice * Tile::kOutputs + lane % 4 * kPackChannels;
  if (!Tile::kActivates || !p.activates) {
#pragma unroll
    for (int group = 0; group < Tile::kNarrow / 4; ++group) {
      store_sums<T, Tile>(p, corner, group, first_channel + 32 * group, sums);
    }
    return;
  }
  if constexpr (Tile::kActivates) {
    constexpr int kPixelsOfLane = kLanePixels<Tile>;
    const float strength = e.strength ? __ldg(e.strength) : 1.0f;
    float shift[kPixelsOfLane], colours[kPixelsOfLane][kConvColours] = {};
    bool exists[kPixelsOfLane];
    int64_t place[kPixelsOfLane];  // in y
#pragma unroll
    for (int q = 0; q < kPixelsOfLane; ++q) {
      const int y = corner.y + warp * Tile::kWarpRows + q / 2;
      const int x = corner.x + lane / 4 + q % 2 * 8;
      const int64_t pixel = int64_t(y) * p.out_w + x;
      exists[q] = y < p.out_h && x < p.out_w;
      place[q] = (corner.sample * e.pixels + pixel) * e.channels;
      const float* noise = e.noise + corner.sample * e.noise_stride + pixel;
      shift[q] = e.noise && exists[q] ? strength * __ldg(noise) : 0.0f;
    }
#pragma unroll
    for (int group = 0; group < Tile::kNarrow / 4; ++group) {
      const int channel = first_channel + 32 * group;
      if (channel < e.channels) {
        const int64_t row = int64_t(corner.sample) * e.channels + channel;
        Pack<T, kPackChannels> out[kPixelsOfLane];
#pragma unroll
        for (int j = 0; j < kPackChannels; ++j) {
          const float demod = e.demod ? __ldg(e.demod + row + j) : 1.0f;
          const float bias = e.bias ? __ldg(e.bias + channel + j) : 0.0f;
          const float style = e.style ? __ldg(e.style + row + j) : 1.0f;
          float weight[kConvColours] = {};
          if (Tile::kImage && p.rgb.y) {
#pragma unroll
            for (int k = 0; k < kConvColours; ++k) {
              const int64_t plane = int64_t(corner.sample) * p.rgb.colours + k;
              if (k < p.rgb.colours) {
                weight[k] = __ldg(p.rgb.weight + plane * e.channels + channel + j);
              }
            }
          }
#pragma unroll
          for (int q = 0; q < kPixelsOfLane; ++q) {
            const float sum = sums[0][q / 2][4 * group + j / 2][q % 2 * 2 + j % 2];
            const float v = activate(e.activation, demod * sum + shift[q] + bias);
            out[q].at[j] = from_float<T>(v * style);
            if constexpr (Tile::kImage) {
#pragma unroll
              for (int k = 0; k < kConvColours; ++k) colours[q][k] += weight[k] * v;
            }
          }
        }
#pragma unroll
        for (int q = 0; q < kPixelsOfLane; ++q) {
          if (e.y && exists[q]) store_pack<T, kPackChannels>(e.y, place[q] + channel, out[q]);
        }
      }
    }
    if constexpr (Tile::kImage) {
      if (p.rgb.y) {
        write_image(p, corner.sample, corner.y + warp * Tile::kWarpRows, corner.x + lane / 4,
                    colours);
      }
    }
  }
}

// Block b takes slice b % slices of the output channels, so that blocks which read the same inputs
// run together.
template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    implicit_conv_kernel(const ImplicitConvParams p, const ConvWork work) {
#if DELTAFAST_TENSOR_CORES
  extern __shared__ __align__(16) unsigned char shared[];
  const unsigned inputs = shared_address(shared);
  const unsigned weights = inputs + Tile::kStages * Tile::kInputBytes;
  const int slice = static_cast<int>(blockIdx.x) % work.slices;
  const int first = static_cast<int>(blockIdx.x) / work.slices;
  const int walkers = static_cast<int>(gridDim.x) / work.slices;
  if (first >= work.tiles) return;
  const bool kept = work.chunks <= Tile::kStages;  // the weights, from tile to tile
  const int items = ((work.tiles - 1 - first) / walkers + 1) * work.chunks;

  const auto load = [&](int item) {
    if (item < items) {
      const int chunk = item % work.chunks, stage = item % Tile::kStages;
      const TileCorner corner = tile_corner<Tile>(work, first + item / work.chunks * walkers);
      load_input<T, Tile>(p, corner, chunk, inputs + stage * Tile::kInputBytes);
      if (!kept || item < work.chunks) {
        load_weights<T, Tile>(p, slice, chunk,
                              weights + (kept ? chunk : stage) * Tile::kWeightBytes);
      }
    }
    commit_copies();  // one group an item, empty behind the last
  };

#pragma unroll 1
  for (int item = 0; item < Tile::kStages - 1; ++item) load(item);
  ConvSums<Tile> sums = {};
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    wait_copies<Tile::kStages - 2>();
    __syncthreads();  // everyone's copies have landed, and the stage of the item before is free
    load(item + Tile::kStages - 1);
    const int chunk = item % work.chunks, stage = item % Tile::kStages;
    add_chunk<T, Tile>(inputs + stage * Tile::kInputBytes,
                       weights + (kept ? chunk : stage) * Tile::kWeightBytes, sums);
    if (chunk + 1 < work.chunks) continue;
    const TileCorner corner = tile_corner<Tile>(work, first + item / work.chunks * walkers);
    if constexpr (Tile::kFiltered) {
      finish_filtered<T, Tile>(p, corner, slice, shared + work.shared, sums);
    } else {
      finish_tile<T, Tile>(p, corner, slice, sums);
    }
#pragma unroll
    for (int phase = 0; phase < Tile::kPhases; ++phase) {
#pragma unroll
      for (int r = 0; r < Tile::kWarpRows; ++r) {
#pragma unroll
        for (int n = 0; n < Tile::kNarrow; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[phase][r][n][i] = 0.0f;
        }
      }
    }
  }
#elif defined(__CUDA_ARCH__)
  __trap();  // never launched below sm_80
#endif
}

template <typename T, typename Tile>
cudaError_t launch_conv(const ImplicitConvParams& p, cudaStream_t stream) {
  constexpr int64_t kMaxTiles = int64_t{1} << 24;
  constexpr int64_t kWanted = 4096, kMaxRounds = 16;  // blocks; tiles that one walks over
  const auto parts = [](int64_t size, int64_t step) { return (size + step - 1) / step; };
  // In positions: of the input where up-sampled (one more without the filter), else of the output.
  const int64_t more = Tile::kFiltered ? 0 : 1;
  const int64_t tiles_h = parts(Tile::kUp ? p.in_h + more : p.out_h, Tile::kStepRows);
  const int64_t tiles_w = parts(Tile::kUp ? p.in_w + more : p.out_w, Tile::kStepColumns);
  const int64_t tiles = p.epilogue.batch * tiles_h * tiles_w;
  const int64_t slices = parts(p.epilogue.channels, Tile::kOutputs);
  const int64_t chunks = parts(p.inputs, Tile::kDepth);
  if (tiles * slices > kMaxTiles || chunks > kMaxTiles) return cudaErrorInvalidValue;
  const int64_t most = tiles * slices / kWanted;
  const int64_t rounds = most < 1 ? 1 : (most > kMaxRounds ? kMaxRounds : most);
  const unsigned blocks = blocks_for(parts(tiles, rounds)) * static_cast<unsigned>(slices);
  const int64_t places = chunks < Tile::kStages ? chunks : Tile::kStages;
  const int64_t operands = Tile::kStages * Tile::kInputBytes + places * Tile::kWeightBytes;
  const int64_t bytes = operands + (Tile::kFiltered ? kUpTileBytes : 0);
  const ConvWork work{static_cast<int>(chunks),  static_cast<int>(slices),
                      static_cast<int>(tiles_h), static_cast<int>(tiles_w),
                      static_cast<int>(tiles),   static_cast<int>(operands)};
  const cudaError_t error =
      cudaFuncSetAttribute(implicit_conv_kernel<T, Tile>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error != cudaSuccess) return error;
  implicit_conv_kernel<T, Tile>
      <<<blocks, Tile::kThreads, static_cast<size_t>(bytes), stream>>>(p, work);
  return cudaGetLastError();
}

// With the tile that `size` names.
template <typename Tile>
cudaError_t launch_conv(const ImplicitConvParams& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  switch (target.element) {
    case Element::kHalf:
      return launch_conv<__half, Tile>(p, stream);
    case Element::kBfloat16:
      return launch_conv<__nv_bfloat16, Tile>(p, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace deltafast::cuda
