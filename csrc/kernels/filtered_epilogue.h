// A separable FIR filter and the fused epilogue behind it in one pass: parameters and entry points,
// free of torch.
//
//   y = epilogue(gain * sum over taps of f[i] f[j] x[row + i - pad_y, column + j - pad_x])
#pragma once

#include <cstdint>

#include "kernels/modulated_epilogue.h"
#include "kernels/target.h"

namespace deltafast {

constexpr int kMaxEpilogueTaps = 16;

// x and y are NHWC; x has the epilogue's batch and channels.
template <typename A>
struct FilteredEpilogueParams {
  int64_t in_h = 0, in_w = 0;
  int64_t out_h = 0, out_w = 0;
  int64_t pad_x = 0, pad_y = 0;  // on the left and on the top
  int taps = 0;
  const A* filter = nullptr;   // [taps] in the order of correlation
  A gain{};                    // of the whole filter
  EpilogueParams<A> epilogue;  // x is the filter's input, y the result
};

namespace cpu {
template <typename A>
void filtered_epilogue(const FilteredEpilogueParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
// On the device, the filter is given in the order of convolution.
int filtered_epilogue(const FilteredEpilogueParams<float>& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
