// How the convolution on warpgroups is cut; see wgmma_conv.cuh.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include "kernels/cuda/conv_tile.cuh"
#include "kernels/implicit_conv.h"

namespace deltafast::cuda {

constexpr int kGroupThreads = 128, kConsumers = 2;
constexpr int kWgThreads = (1 + kConsumers) * kGroupThreads;
constexpr int kWgDepth = 64;                  // channels of a stage, and of a box of the result
constexpr int kBlockRows = 4;                 // of 16 positions: a product's 64 rows
constexpr int kPositionBytes = 2 * kWgDepth;  // a row of a product's operand, swizzled
constexpr int kRowBytes = kConvTileColumns * kPositionBytes;
constexpr int kBlockBytes = kBlockRows * kRowBytes;
constexpr int kMaxTaps = 3;          // of a column of the filter
constexpr int kSwizzleBytes = 1024;  // after which the swizzle repeats
constexpr int kMaxViews = 4;         // of an image: all, or each second row and column

// A tile has 16 rows of 16 positions and kOutputs output channels; each consumer takes kBlocks
// blocks of 4 rows. A stage holds the tile's inputs for one column of the filter, with a row before
// and one behind, and the weights of its taps.
template <int kOutputs_>
struct WgTile {
  static constexpr int kOutputs = kOutputs_, kBlocks = 2, kStages = 2;
  static constexpr int kRows = kConsumers * kBlocks * kBlockRows, kInRows = kRows + 2;
  static constexpr int kInputBytes = kInRows * kRowBytes;
  static constexpr int kTapBytes = kOutputs * kPositionBytes;
  static constexpr int kStageBytes = kInputBytes + kMaxTaps * kTapBytes;
  // Of a consumer: the results of a block, 64 channels after the other.
  static constexpr int kParts = kOutputs / kWgDepth, kStagingBytes = kParts * kBlockBytes;
  static constexpr int kStagingAt = kStages * kStageBytes;
  static constexpr int kBarriersAt = kStagingAt + kConsumers * kStagingBytes;
  static constexpr int kSharedBytes = kBarriersAt + 2 * 8 * kStages + kSwizzleBytes;
  static constexpr int kSums = kOutputs / 2;  // of a thread and block
  static_assert(kInputBytes % kSwizzleBytes == 0 && kRowBytes % kSwizzleBytes == 0);
  static_assert(kOutputs % kWgDepth == 0 && kSharedBytes <= 227 * 1024);
};

// The boxes that are copied: of the input, of weights, of the result. An up-sampled result and the
// input of the form with stride 2 are four images, of each second row and column.
struct WgMaps {
  CUtensorMap input[kMaxViews];
  CUtensorMap weights;
  CUtensorMap output[kMaxViews];
};

struct WgWork {
  int chunks;   // of input channels
  int slices;   // of output channels
  int tiles_h;  // of a sample
  int tiles_w;
  int tiles;  // of all phases, samples and slices
};

// Describes a product's operand in shared memory ("matrix descriptor" in the PTX manual): rows of
// 64 elements of 16 bits, 128 bytes, swizzled as boxes are; eight rows after the other. 16 elements
// further on in all rows is an address 32 bytes further on.
__device__ __forceinline__ uint64_t describe_rows(unsigned address) {
  constexpr uint64_t kEightRows = 8 * kPositionBytes, kSwizzle = 1;  // 1: of 128 bytes
  constexpr uint64_t kColumns = 1;                                   // not used with a swizzle
  return uint64_t((address & 0x3FFFF) / 16) | kColumns << 16 | kEightRows / 16 << 32 |
         kSwizzle << 62;
}

// Where a tile begins, in positions of its phase.
struct WgPlace {
  int phase, sample, y, x, slice;
};

// Neighbouring numbers share inputs; phases with many taps come first.
template <typename Tile>
__device__ __forceinline__ WgPlace wg_place(const WgWork& work, int batch, int tile) {
  const int slice = tile % work.slices, position = tile / work.slices;
  const int x = position % work.tiles_w, row = position / work.tiles_w;
  const int y = row % work.tiles_h, image = row / work.tiles_h;
  return {image / batch, image % batch, y * Tile::kRows, x * kConvTileColumns, slice};
}

// Phase 2 py + px of an up-sampled result has a row (column) less where py (px) is 1: whether a
// tile has anything of its phase.
__device__ __forceinline__ bool wg_exists(const ImplicitConvParams& p, const WgPlace& place) {
  if (p.form != ConvForm::kUp) return true;
  return place.y < p.in_h + 1 - place.phase / 2 && place.x < p.in_w + 1 - place.phase % 2;
}

// What a stage holds: a view of the input, `right` columns further on and a row before the tile's
// first, and `taps` taps of a column of the filter. Tap number first + t * step reads the rows from
// row + t * down on.
struct WgItem {
  int view, right, taps, first, step, row, down;
};

__device__ __forceinline__ int wg_items(ConvForm form, int phase) {
  switch (form) {
    case ConvForm::kPointwise:
      return 1;
    case ConvForm::kUp:
      return phase % 2 ? 1 : 2;
    case ConvForm::kDown:
      return 6;
    default:
      return 3;
  }
}

__device__ __forceinline__ WgItem wg_item(ConvForm form, int phase, int i) {
  switch (form) {
    case ConvForm::kPointwise:
      return {0, 0, 1, 0, 0, 1, 0};
    case ConvForm::kUp: {
      // Output 2 i + k sees input i through tap k: the odd phase through tap 1, the even one
      // through tap 0, and the input before through tap 2.
      const int column = phase % 2 ? 1 : 2 * i;
      return phase / 2 ? WgItem{0, -i, 1, 3 + column, 0, 1, 0} : WgItem{0, -i, 2, column, 6, 1, -1};
    }
    case ConvForm::kDown: {
      // Output i sees input 2 i + k through tap k: taps 0 and 2 read the even rows, tap 1 the odd.
      const int column = i / 2, view = 2 * (i % 2) + column % 2;
      return i % 2 ? WgItem{view, column / 2, 1, 3 + column, 0, 1, 0}
                   : WgItem{view, column / 2, 2, column, 6, 1, 1};
    }
    default:
      return {0, i - 1, 3, i, 3, 0, 1};
  }
}

}  // namespace deltafast::cuda
