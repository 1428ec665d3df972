// MobileStyleGAN's image layer on CPUs, forward and backward; compiled once per instruction set
// (see dispatch.h). One unit is a band of rows of one sample, worked off in tiles of pixels that
// stay in cache.

#include "kernels/wavelet_image.h"

#include "kernels/cpu/image_gradient.h"
#include "kernels/cpu/image_rows.h"
#include "kernels/cpu/instruction_set.h"

namespace deltafast::cpu::DELTAFAST_ISA {

template <typename A>
void wavelet_image(const WaveletImageParams<A>& p, int64_t begin, int64_t end) {
  ImageRows<A> image(p);
  for_each_sample(p.height, begin, end, [&](int64_t sample, int64_t first, int64_t last) {
    image.begin(sample, {});
    image.run(first, last);
  });
}

template <typename A>
void wavelet_image_backward(const WaveletImageParams<A>& p, int64_t begin, int64_t end) {
  ImageGradient<A> image(p);
  for_each_sample(p.height, begin, end, [&](int64_t sample, int64_t first, int64_t last) {
    image.begin(sample, first, last, {});
    image.run(first, last);
  });
}

DELTAFAST_FLOAT_AND_DOUBLE(wavelet_image, WaveletImageParams)
DELTAFAST_FLOAT_AND_DOUBLE(wavelet_image_backward, WaveletImageParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
