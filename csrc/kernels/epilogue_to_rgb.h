// The epilogue of a block's last convolution and the conversion of its result to an image, in one
// pass: parameters, free of torch. CUDA alone has a kernel for it; on CPUs the epilogue is part of
// the convolution.
#pragma once

#include "kernels/modulated_epilogue.h"
#include "kernels/to_rgb.h"

namespace deltafast {

// epilogue: NHWC; y may be null where only the image is wanted. rgb: its x is not used.
struct EpilogueToRgbParams {
  EpilogueParams<float> epilogue;
  ToRgbParams<float> rgb;
};

namespace cuda {
int epilogue_to_rgb(const EpilogueToRgbParams& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
