// The separable convolution on CPUs; compiled once per instruction set (see dispatch.h). One unit
// is a band of rows of one sample.

#include "kernels/separable_conv.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/separable_layer.h"

namespace deltafast::cpu::DELTAFAST_ISA {

// One unit is one panel: `matrix[n * stride_n + k * stride_k]` for k < inner and n < outer, zeros
// elsewhere.
template <typename A>
void pack_panels(const PackParams<A>& p, int64_t begin, int64_t end) {
  const int64_t inner = round_up(p.inner, kLanes<A>);
  for (int64_t panel = begin; panel < end; ++panel) {
    A* out = p.packed + panel * kPanel<A> * inner;
    for (int64_t k = 0; k < inner; ++k, out += kPanel<A>) {
      for (int64_t j = 0; j < kPanel<A>; ++j) {
        const int64_t n = panel * kPanel<A> + j;
        out[j] =
            k < p.inner && n < p.outer ? p.matrix[n * p.stride_outer + k * p.stride_inner] : A(0);
      }
    }
  }
}

template <typename A>
void separable_conv(const SeparableConvParams<A>& p, int64_t begin, int64_t end) {
  SeparableLayer<A> layer(p);
  for_each_sample(p.height, begin, end, [&](int64_t sample, int64_t first, int64_t last) {
    layer.begin(sample, first, {}, {});
    layer.run(first, last);
  });
}

DELTAFAST_FLOAT_AND_DOUBLE(pack_panels, PackParams)
DELTAFAST_FLOAT_AND_DOUBLE(separable_conv, SeparableConvParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
