// StyleGAN2's modulated 3x3 convolution on the CPU, plain and transposed with stride 2, with its
// epilogue: parameters and entry points, free of torch.
//
// Both are Winograd's: a tile of inputs is transformed, every transformed value is multiplied by a
// matrix [C, O] of its own, and the products are combined to a tile of outputs.
// kernels/shared/winograd.h has the transforms.
#pragma once

#include <cstdint>

#include "kernels/modulated_epilogue.h"
#include "kernels/shared/winograd.h"
#include "kernels/target.h"

namespace deltafast {

// Channels are filled up to these in packed weights, whatever the instruction set.
constexpr int64_t kConvInputStep = 16;
constexpr int64_t kConvOutputStep = 32;

struct PackConv3x3Params {
  int64_t inputs = 0;
  int64_t outputs = 0;
  bool up = false;
  const float* weight = nullptr;  // [O, C, 3, 3]; for each o, channels apart by channel_step
  int64_t channel_step = 9;       // 9, or 1 for a weight that is channels-last
  int64_t tap_step = 1;           // 1, or C
  float* packed = nullptr;        // [products, O / panel, C, panel], filled up with zeros
  float* squares = nullptr;       // [O, C], the sums of the squares of the taps, or null
};

struct Conv3x3Params {
  int64_t inputs = 0;        // C
  int64_t in_h = 0;          // H
  int64_t in_w = 0;          // W
  int64_t out_h = 0;         // H, or 2 H + 1
  int64_t out_w = 0;         // W, or 2 W + 1
  bool up = false;           // transposed with stride 2
  bool activates = false;    // whether the epilogue follows at once; otherwise y holds plain sums
  const float* x = nullptr;  // [N, H, W, C]
  const float* style = nullptr;   // [N, C], multiplied into x, or null
  const float* packed = nullptr;  // the weight as PackConv3x3Params makes it
  EpilogueParams<float>
      epilogue;  // batch, channels = O, pixels, y and, where it activates, the rest
};

// How the tiles of a batch are cut into units of work: by the shape alone, so that every run gives
// the same bits.
struct Conv3x3Work {
  int64_t tiles_h;
  int64_t tiles_w;
  int64_t tiles;  // of the whole batch
  int64_t chunk;  // tiles of a unit
  int64_t chunks;
  int64_t groups;  // into which the output channels of one chunk are cut
  int64_t group;   // output channels of a unit, at most
};

inline Conv3x3Work conv3x3_work(const Conv3x3Params& p) {
  // Where the weights fit into a cache, so do a chunk's inputs, and the products of few channels at
  // a time; larger weights are read once for many tiles, whose planes pass through the cache in
  // turn.
  constexpr int64_t kLargeWeight = int64_t{6} << 20;  // bytes
  constexpr int64_t kInputs = int64_t{1} << 20;       // bytes of a chunk's transformed inputs
  constexpr int64_t kStep = 28;                       // tiles: whole register tiles for AVX-512
  constexpr int64_t kMaxChunk = 112, kLargeChunk = 256, kLargeGroup = 256;
  constexpr int64_t kUnits = 16;  // wanted, so that every core finds work
  const auto up_to = [](int64_t value, int64_t step) { return (value + step - 1) / step; };
  const auto within = [](int64_t value, int64_t low, int64_t high) {
    return value < low ? low : (value > high ? high : value);
  };
  const int64_t side = p.up ? kUpTileOutputs : kPlainTileOutputs;
  const int64_t planes = kTransformed * kTransformed * int64_t{sizeof(float)};
  Conv3x3Work work{};
  work.tiles_h = up_to(p.out_h, side);
  work.tiles_w = up_to(p.out_w, side);
  work.tiles = p.epilogue.batch * work.tiles_h * work.tiles_w;
  const int64_t steps = up_to(p.epilogue.channels, kConvOutputStep);
  const bool large = planes * p.inputs * p.epilogue.channels > kLargeWeight;
  const int64_t fitting = kInputs / (planes * p.inputs) / kStep * kStep;
  work.chunk = large ? kLargeChunk : within(fitting, kStep, kMaxChunk);
  work.chunks = up_to(work.tiles, work.chunk);
  const int64_t most = large ? kLargeGroup : kConvOutputStep;
  const int64_t steps_of_group = within(most / kConvOutputStep, 1, steps);
  const int64_t least = up_to(steps, steps_of_group);
  work.groups = within(up_to(kUnits, within(work.chunks, 1, kUnits)), least, steps);
  work.group = up_to(steps, work.groups) * kConvOutputStep;
  return work;
}

namespace cpu {
void pack_conv3x3(const PackConv3x3Params& params, ParallelFor parallel_for);
void modulated_conv3x3(const Conv3x3Params& params, ParallelFor parallel_for);
}  // namespace cpu

}  // namespace deltafast
