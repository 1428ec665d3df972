// The gradient of the separable convolution; compiled once per instruction set (see dispatch.h).
// One unit is a band of rows of one sample.

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/separable_gradient.h"
#include "kernels/wavelet_block.h"

namespace deltafast::cpu::DELTAFAST_ISA {

template <typename A>
void separable_conv_backward(const SeparableConvParams<A>& p, int64_t begin, int64_t end) {
  const int64_t step = wavelet_block_step(p.height, p.width);
  SeparableGradient<A> layer(p, step);
  for_each_sample(p.height, begin, end, [&](int64_t sample, int64_t first, int64_t last) {
    layer.begin(sample, first, last, {}, {});
    int64_t ready = first > 0 ? first - 1 : 0;
    for (int64_t row = first; row < last; row += step) {
      const int64_t row_end = smaller(row + step, last), needed = smaller(row_end + 1, p.height);
      for (; ready < needed; ready = smaller(ready + step, needed)) {
        layer.absorb(ready, smaller(ready + step, needed));
      }
      layer.finish(row, row_end);
    }
  });
}

DELTAFAST_FLOAT_AND_DOUBLE(separable_conv_backward, SeparableConvParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
