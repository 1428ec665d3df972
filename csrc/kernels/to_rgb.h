// The conversion of activations to an image: a 1x1 convolution to few channels by each sample's own
// weights, bias, clamp, and the up-sampled image of the block before added. Parameters and entry
// points, free of torch.
#pragma once

#include <cstdint>

#include "kernels/target.h"

namespace deltafast {

constexpr int kMaxImageChannels = 8;
constexpr int kMaxSkipTaps = 16;

template <typename A>
struct ToRgbParams {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t height = 0, width = 0;
  int colours = 0;            // at most kMaxImageChannels
  const void* x = nullptr;    // [N, H, W, C]
  const A* weight = nullptr;  // [N, colours, C], the style multiplied in
  const A* bias = nullptr;    // [colours] or null
  A clamp{};                  // +infinity where nothing is clamped
  const A* skip = nullptr;    // [N, colours, H / 2, W / 2] or null
  int taps = 0;               // of the up-sampling filter
  const A* filter = nullptr;  // [taps] in the order of correlation
  A gain{};                   // of the whole filter
  A* y = nullptr;             // [N, colours, H, W]
};

// How many zeros up-sampling by 2 has before the first pixel of a row, so that H becomes 2 H.
inline int64_t upsampling_pad(int64_t taps) { return (taps + 1) / 2; }

namespace cpu {
template <typename A>
void to_rgb(const ToRgbParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
// On the device, the filter is given in the order of convolution.
int to_rgb(const ToRgbParams<float>& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
