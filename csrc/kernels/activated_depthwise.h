// What lies between two 1x1 convolutions of MobileStyleGAN, in one pass over memory: parameters and
// entry points, free of torch.
//
//   v = gain * leaky_relu(u + noise + bias)
//   z = depthwise(style * v), or depthwise(inverse_haar(style * v)) if `wavelet`
#pragma once

#include <cstdint>

#include "kernels/shared/activation.h"
#include "kernels/target.h"

namespace deltafast {

// `A` is the type of all accumulation and of the small tensors: float, or double where u is double.
// u, z, grad and grad_u are dense NHWC. u has the channels and the size of z, or if `wavelet` four
// times the channels (subband by subband) and half the height and width.
struct ActivatedDepthwiseParams {
  int64_t batch = 0;
  int64_t channels = 0;           // C, of z
  int64_t height = 0, width = 0;  // H, W, of z
  bool wavelet = false;
  Activation<float> activation{};

  const void* u = nullptr;
  const float* noise = nullptr;  // [N or 1, height and width of u] or null
  int64_t noise_stride = 0;      // elements from one sample's noise to the next, 0 for one map
  const float* bias = nullptr;   // [channels of u] or null
  const float* style = nullptr;  // [N, channels of u] or null
  const float* taps = nullptr;   // [C, 3, 3]
  void* z = nullptr;             // forward only

  const void* grad = nullptr;   // backward only, from here on: like z
  void* grad_u = nullptr;       // like u
  float* grad_style = nullptr;  // like style, or null
  float* partials = nullptr;    // [N, tiles, channels of u], or null where grad_style is
};

// The image is worked on in tiles, so sums over pixels are sums over tiles: their order depends on
// the shape alone.
constexpr int kDepthwiseTileHeight = 8;
constexpr int kDepthwiseTileWidth = 16;

inline int64_t depthwise_tiles(int64_t height, int64_t width) {
  return (height + kDepthwiseTileHeight - 1) / kDepthwiseTileHeight *
         ((width + kDepthwiseTileWidth - 1) / kDepthwiseTileWidth);
}

namespace cuda {
int activated_depthwise(const ActivatedDepthwiseParams& params, const CudaTarget& target);
int activated_depthwise_backward(const ActivatedDepthwiseParams& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
