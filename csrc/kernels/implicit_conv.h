// A convolution as a matrix product on tensor cores, the input's patches never built, with its
// epilogue on the accumulators and, where a tile holds all channels, the conversion to an image:
// parameters and tile sizes, free of torch. CUDA alone has kernels for it, from sm_80 on.
#pragma once

#include <cstdint>

#include "kernels/modulated_epilogue.h"
#include "kernels/to_rgb.h"

namespace deltafast {

// x is [N, C, H, W], y [N, O, H', W'], both NHWC.
enum class ConvForm : int {
  kPlain = 0,      // 3x3, padding 1: H' = H
  kPointwise = 1,  // 1x1
  kUp = 2,         // 3x3 transposed, stride 2: H' = 2 H + 1, as four phases of plain convolutions
  kDown = 3,       // 3x3, stride 2, no padding: H' = (H - 1) / 2; the gradient of kUp
  kUpFiltered = 4  // kUp, its result filtered with four taps to 2 H, and the epilogue behind it
};

// How a form's work is cut; by the shape alone. A block takes `rows` x 16 positions of one sample
// and `outputs` output channels, and adds up `depth` input channels at a time.
struct ConvTileSize {
  int rows;
  int outputs;
  int depth;
};

constexpr int kConvTileColumns = 16;
constexpr int kConvColours = 3;  // image channels that the epilogue makes, at most

constexpr ConvTileSize conv_tile_size(ConvForm form, int64_t outputs) {
  switch (form) {
    case ConvForm::kPlain:
      return outputs <= 32 ? ConvTileSize{8, 32, 32} : ConvTileSize{16, 64, 16};
    case ConvForm::kPointwise:
      return {8, 64, 32};
    default:
      return {8, 32, 16};
  }
}

constexpr int conv_taps(ConvForm form) { return form == ConvForm::kPointwise ? 1 : 9; }

struct ImplicitConvParams {
  ConvForm form = ConvForm::kPlain;
  int64_t inputs = 0;  // C, a multiple of 8
  int in_h = 0, in_w = 0;
  int out_h = 0, out_w = 0;
  const void* x = nullptr;        // on a multiple of 16 bytes
  const void* weight = nullptr;   // [O, k, k, C] as it lies in memory, on a multiple of 16 bytes
  bool activates = false;         // whether the epilogue follows; otherwise y holds the plain sums
  const float* filter = nullptr;  // [4] in the order of convolution; for kUpFiltered alone
  float filter_gain = 1.0f;
  EpilogueParams<float> epilogue;  // batch, channels = O, a multiple of 8, pixels = H' W', y (null
                                   // where only the image is wanted), and the rest
  ToRgbParams<float> rgb;          // its x is not used; y is null where no image is made
};

namespace cuda {
// With mma.sync, from sm_80 on.
int implicit_conv(const ImplicitConvParams& params, const CudaTarget& target);
// With wgmma, for sm_90a: all forms but kUpFiltered, and tiles of their own. In builds with
// DELTAFAST_SM90 alone.
int wgmma_conv(const ImplicitConvParams& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
