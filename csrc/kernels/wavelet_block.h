// Two layers of MobileStyleGAN, and the image layer where it follows, in one pass: parameters and
// entry points, free of torch.
#pragma once

#include <cstdint>

#include "kernels/separable_conv.h"
#include "kernels/target.h"
#include "kernels/wavelet_image.h"

namespace deltafast {

// `first` is a layer with the wavelet, `second` one without that reads its result: first.y and
// second.x are null. With an image, second.y and image.x are null too.
// The backward pass reads them all, and the gradient of the last layer; the gradients between the
// layers, first.grad and second.grad_x, with an image second.grad and image.grad_x, are null.
template <typename A>
struct WaveletBlockParams {
  SeparableConvParams<A> first;
  SeparableConvParams<A> second;
  WaveletImageParams<A> image;
  bool with_image = false;
};

// Rows of a block that are worked off at once: as few as keep the weights from being read too
// often.
inline int64_t wavelet_block_step(int64_t height, int64_t width) {
  constexpr int64_t kPixels = 128;
  const int64_t rows = (kPixels / width + 1) / 2 * 2, most = separable_conv_band_rows(height);
  return rows < 2 ? 2 : (rows < most ? rows : most);
}

namespace cpu {
template <typename A>
void wavelet_block(const WaveletBlockParams<A>& params, ParallelFor parallel_for);
template <typename A>
void wavelet_block_backward(const WaveletBlockParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

}  // namespace deltafast
