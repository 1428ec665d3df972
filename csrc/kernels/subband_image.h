// The image from its wavelet subbands: parameters and entry points, free of torch.
//
//   image = inverse_haar(x + bias)
#pragma once

#include <cstdint>

#include "kernels/target.h"

namespace deltafast {

// `A` is the type of the arithmetic, of the bias and of the image: float, or double where x is.
struct SubbandImageParams {
  int64_t batch = 0;
  int64_t colours = 0;            // K
  int64_t height = 0, width = 0;  // of x; the image is twice as large

  const void* x = nullptr;      // [N, H, W, 4 K], subband by subband
  const float* bias = nullptr;  // [4 K] or null
  float* image = nullptr;       // [N, K, 2 H, 2 W]

  const float* grad = nullptr;  // backward only: like image
  void* grad_x = nullptr;       // backward only: like x
};

namespace cuda {
int subband_image(const SubbandImageParams& params, const CudaTarget& target);
int subband_image_backward(const SubbandImageParams& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
