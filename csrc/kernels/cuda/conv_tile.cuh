// How the implicit matrix product's work is cut; see implicit_conv.cuh.
#pragma once

#include <cuda_runtime.h>

#include "kernels/implicit_conv.h"

namespace deltafast::cuda {

constexpr int kLanes = 32, kPackBytes = 16, kPackChannels = 8;  // 16-bit elements

// A warp takes kWarpRows rows of 16 positions.
template <ConvForm kForm_, bool kWide, int kWarps, int kStages_, int kBlocks_>
struct ConvTile {
  static constexpr ConvForm kForm = kForm_;
  static constexpr int kThreads = kWarps * kLanes, kStages = kStages_, kBlocks = kBlocks_;
  static constexpr ConvTileSize kSize = conv_tile_size(kForm, kWide ? 64 : 32);
  static constexpr int kRows = kSize.rows, kOutputs = kSize.outputs, kDepth = kSize.depth;
  static constexpr int kWarpRows = kRows / kWarps;
  static constexpr int kTaps = conv_taps(kForm), kSide = kTaps == 9 ? 3 : 1;
  static constexpr bool kActivates = kForm == ConvForm::kPlain || kForm == ConvForm::kPointwise;
  static constexpr bool kImage = kForm == ConvForm::kPlain;
  static constexpr bool kFiltered = kForm == ConvForm::kUpFiltered;
  static constexpr bool kUp = kForm == ConvForm::kUp || kFiltered;
  static constexpr int kPhases = kUp ? 4 : 1;
  static constexpr int kStride = kForm == ConvForm::kDown ? 2 : 1;
  static constexpr int kBefore = kForm == ConvForm::kPlain || kUp ? 1 : 0;
  static constexpr int kHalo =
      kForm == ConvForm::kPlain ? 2 : (kForm == ConvForm::kPointwise ? 0 : 1);
  static constexpr int kInRows = (kForm == ConvForm::kDown ? 2 * kRows : kRows) + kHalo;
  static constexpr int kInColumns =
      (kForm == ConvForm::kDown ? 2 * kConvTileColumns : kConvTileColumns) + kHalo;
  // A filtered tile begins one position early and overlaps the next one: see up_filter.cuh.
  static constexpr int kEarly = kFiltered ? 1 : 0;
  static constexpr int kStepRows = kRows - 2 * kEarly;
  static constexpr int kStepColumns = kConvTileColumns - 2 * kEarly;
  static constexpr int kNarrow = kOutputs / 8;           // 16 x 8 products side by side
  static constexpr int kPacks = kDepth / kPackChannels;  // of a row in shared memory
  static constexpr int kInputBytes = kInRows * kInColumns * kPacks * kPackBytes;
  static constexpr int kWeightBytes = kTaps * kOutputs * kPacks * kPackBytes;
  static_assert(kRows % kWarps == 0 && kOutputs % 32 == 0 && (kPacks == 2 || kPacks == 4));
};

// Which output channel, of a group of 32, lies at row `at` of a tile's weights: so ordered that the
// four 16 x 8 products of a lane hold eight neighbouring channels, 16 bytes.
__device__ __forceinline__ int row_channel(int at) { return at % 8 / 2 * 8 + at / 8 * 2 + at % 2; }

struct ConvWork {
  int chunks;   // of input channels
  int slices;   // of output channels
  int tiles_h;  // of a sample
  int tiles_w;
  int tiles;   // of all samples
  int shared;  // bytes of inputs and weights
};

// Where a tile begins.
struct TileCorner {
  int sample, y, x;
};

template <typename Tile>
__device__ __forceinline__ TileCorner tile_corner(const ConvWork& work, int tile) {
  const int of_sample = tile % (work.tiles_h * work.tiles_w);
  return {tile / (work.tiles_h * work.tiles_w),
          of_sample / work.tiles_w * Tile::kStepRows - Tile::kEarly,
          of_sample % work.tiles_w * Tile::kStepColumns - Tile::kEarly};
}

// Of a warp: 16 x 8 sums spread over its lanes, for each phase, row and eight output channels.
template <typename Tile>
using ConvSums = float[Tile::kPhases][Tile::kWarpRows][Tile::kNarrow][4];

}  // namespace deltafast::cuda
