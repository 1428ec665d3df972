// Entry points of the CUDA kernels, free of torch. Each returns the launch's cudaError_t as an int
// (0 is success) and works on the current device, asynchronously on the given stream.
#pragma once

#include "kernels/activated_depthwise.h"
#include "kernels/delta_edit.h"
#include "kernels/delta_loss.h"
#include "kernels/epilogue_to_rgb.h"
#include "kernels/filtered_epilogue.h"
#include "kernels/modulated_epilogue.h"
#include "kernels/philox.h"
#include "kernels/subband_image.h"
#include "kernels/to_rgb.h"
#include "kernels/upfirdn2d.h"

namespace deltafast {

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

namespace cuda {

enum class Element { kFloat, kHalf, kBfloat16 };

struct CudaTarget {
  Element element = Element::kFloat;  // type of x, y and their gradients
  void* stream = nullptr;             // a cudaStream_t
};

int activated_depthwise(const ActivatedDepthwiseParams<float>& params, const CudaTarget& target);
int activated_depthwise_backward(const ActivatedDepthwiseParams<float>& params,
                                 const CudaTarget& target);
int delta_edit(const DeltaEditParams<float>& params, const CudaTarget& target);
// Whether the hidden layers fit the shared memory of a block.
bool delta_edit_fits(const DeltaEditParams<float>& params);
int delta_loss(const DeltaLossParams<float>& params, const CudaTarget& target);
// How many floats `workspace` must hold.
int64_t delta_loss_workspace(const DeltaLossParams<float>& params);
int epilogue_to_rgb(const EpilogueToRgbParams& params, const CudaTarget& target);
// On the device, filters are given in the order of convolution.
int filtered_epilogue(const FilteredEpilogueParams<float>& params, const CudaTarget& target);
int modulated_epilogue(const EpilogueParams<float>& params, const CudaTarget& target);
int modulated_epilogue_backward(const EpilogueParams<float>& params, const CudaTarget& target);
int philox4x32(const PhiloxParams& params, const CudaTarget& target);
int philox_normal(const NormalParams& params, const CudaTarget& target);
int subband_image(const SubbandImageParams<float>& params, const CudaTarget& target);
int subband_image_backward(const SubbandImageParams<float>& params, const CudaTarget& target);
int to_rgb(const ToRgbParams<float>& params, const CudaTarget& target);
int upfirdn2d(const Upfirdn2dCudaParams& params, const CudaTarget& target);

}  // namespace cuda
}  // namespace deltafast
