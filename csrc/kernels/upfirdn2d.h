// Up-sampling by zero-stuffing, padding or cropping, FIR filtering and down-sampling in one pass:
// parameters and entry points, free of torch.
#pragma once

#include <cstdint>

#include "kernels/target.h"

namespace deltafast {

// Images are seen as [planes, H, W, inner]: NCHW has planes = N * C and inner = 1, NHWC planes = N
// and inner = C.
struct Upfirdn2dShape {
  int64_t planes = 0;
  int64_t inner = 1;
  int64_t in_h = 0, in_w = 0;
  int64_t out_h = 0, out_w = 0;
  int64_t up = 1, down = 1;
  int64_t pad_x0 = 0, pad_y0 = 0;  // negative crops; the far side follows from the output's size
  int64_t taps_h = 1, taps_w = 1;
};

// The filter as correlation taps: flipped and scaled by the gain already.
template <typename A>
struct Upfirdn2dCpuParams {
  Upfirdn2dShape shape;
  const A* x = nullptr;
  A* y = nullptr;
  const A* taps_y = nullptr;   // [taps_h] of a separable filter, else null
  const A* taps_x = nullptr;   // [taps_w] of a separable filter, else null
  const A* taps_2d = nullptr;  // [taps_h, taps_w], else null
};

// The filter stays on the device as the caller gave it; flipping and gain are applied when a block
// loads it.
struct Upfirdn2dCudaParams {
  Upfirdn2dShape shape;
  const void* x = nullptr;
  void* y = nullptr;
  const float* f = nullptr;  // [taps_w] if separable (taps_h equal), else [taps_h, taps_w]
  bool separable = false;
  bool flip_filter = false;
  float gain = 1.0f;
};

namespace cpu {
template <typename A>
void upfirdn2d(const Upfirdn2dCpuParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
int upfirdn2d(const Upfirdn2dCudaParams& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
