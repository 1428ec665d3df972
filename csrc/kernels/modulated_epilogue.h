// The fused epilogue of a modulated convolution: parameters and entry points, free of torch.
//
//   y = clamp(gain * leaky_relu(demod * x + strength * noise + bias)) * style
#pragma once

#include <cstdint>

#include "kernels/shared/activation.h"
#include "kernels/target.h"

namespace deltafast {

// `A` is the type of all accumulation and of the small tensors: float, or double where x is double.
// x, y, grad and grad_x are dense [N, C, H, W], laid out NCHW or, if `channels_last`, NHWC.
template <typename A>
struct EpilogueParams {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t pixels = 0;  // H * W
  bool channels_last = false;
  Activation<A> activation{};

  const void* x = nullptr;
  const A* demod = nullptr;     // [N, C] or null
  const A* noise = nullptr;     // [N or 1, H * W] or null
  int64_t noise_stride = 0;     // elements from one sample's noise to the next: 0 or H * W
  const A* strength = nullptr;  // [] or null, which stands for 1
  const A* bias = nullptr;      // [C] or null
  const A* style = nullptr;     // [N, C] or null
  void* y = nullptr;            // forward only

  const void* grad = nullptr;  // backward only, from here on
  void* grad_x = nullptr;
  A* grad_noise = nullptr;   // [N, H * W], or null where it is not wanted
  A* sums = nullptr;         // [N, C, kEpilogueSums]
  void* partials = nullptr;  // [N, C, splits, kEpilogueSums]: double on the CPU, float on CUDA
  int64_t splits = 1;
};

// What the backward pass sums over the pixels of each (sample, channel); g is the gradient that
// reaches u, the argument of the leaky ReLU.
enum EpilogueSum : int {
  kSumGradX = 0,
  kSumGrad = 1,
  kSumGradNoise = 2,
  kSumStyle = 3,
  kEpilogueSums = 4
};
// kSumGradX: sum of g * x -> demod; kSumGrad: sum of g -> bias; kSumGradNoise: sum of g * noise ->
// strength; kSumStyle: sum of grad * v -> style.

// Into how many parts the pixels are split for the sums. It depends on the shape alone, never on
// the machine, so the order of summation, and with it every bit of the result, is the same from run
// to run.
inline int64_t epilogue_splits(int64_t pixels) {
  constexpr int64_t kPixelsPerSplit = 16384;
  constexpr int64_t kMaxSplits = 64;
  const int64_t splits = (pixels + kPixelsPerSplit - 1) / kPixelsPerSplit;
  return splits < 1 ? 1 : (splits > kMaxSplits ? kMaxSplits : splits);
}

namespace cpu {
template <typename A>
void modulated_epilogue(const EpilogueParams<A>& params, ParallelFor parallel_for);
template <typename A>
void modulated_epilogue_backward(const EpilogueParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
int modulated_epilogue(const EpilogueParams<float>& params, const CudaTarget& target);
int modulated_epilogue_backward(const EpilogueParams<float>& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
