// A block of MobileStyleGAN on CPUs; compiled once per instruction set (see dispatch.h). One unit
// is a band of rows of one sample. Its layers take turns, a few rows each: what one writes into a
// ring of rows the next reads from there, so that of all activations only the block's input and
// result meet memory.

#include "kernels/wavelet_block.h"

#include "kernels/cpu/image_gradient.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/separable_gradient.h"

namespace deltafast::cpu::DELTAFAST_ISA {

template <typename A>
void wavelet_block(const WaveletBlockParams<A>& p, int64_t begin, int64_t end) {
  const int64_t height = p.first.height, width = p.first.width;
  const int64_t step = wavelet_block_step(height, width);
  const int64_t between = (step + 2) * width * p.first.outputs;
  const int64_t last = p.with_image ? step * width * p.second.outputs : 0;
  ScratchBlock<A> scratch(between + last, 2);
  const Rows<A> ring{scratch.take(between), step + 2}, result{scratch.take(last), step};
  SeparableLayer<A> first(p.first), second(p.second);
  ImageRows<A> image(p.image);
  for_each_sample(height, begin, end, [&](int64_t sample, int64_t begin_row, int64_t end_row) {
    int64_t ready = begin_row > 0 ? begin_row - 1 : 0;  // of the first layer's rows
    first.begin(sample, ready, {}, ring);
    second.begin(sample, begin_row, {ring.base, ring.rows}, result);
    if (p.with_image) image.begin(sample, {result.base, result.rows});
    for (int64_t row = begin_row; row < end_row; row += step) {
      const int64_t row_end = smaller(row + step, end_row), needed = smaller(row_end + 1, height);
      first.run(ready, needed);
      ready = needed;
      second.run(row, row_end);
      if (p.with_image) image.run(row, row_end);
    }
  });
}

// The gradients of the layers take turns too: `absorb_first` brings the first layer's gradient up
// to a row, and lets the second layer and the image layer work ahead as far as that needs.
template <typename A>
void wavelet_block_backward(const WaveletBlockParams<A>& p, int64_t begin, int64_t end) {
  const int64_t height = p.first.height, width = p.first.width;
  const int64_t step = wavelet_block_step(height, width);
  const int64_t between = step * width * p.first.outputs;
  const int64_t last = p.with_image ? step * width * p.second.outputs : 0;
  ScratchBlock<A> scratch(between + last, 2);
  const Rows<A> ring{scratch.take(between), step}, result{scratch.take(last), step};
  SeparableGradient<A> first(p.first, step), second(p.second, step);
  ImageGradient<A> image(p.image);
  for_each_sample(height, begin, end, [&](int64_t sample, int64_t begin_row, int64_t end_row) {
    first.begin(sample, begin_row, end_row, {ring.base, ring.rows}, {});
    second.begin(sample, begin_row, end_row, {result.base, result.rows}, ring);
    if (p.with_image) image.begin(sample, begin_row, end_row, result);
    int64_t first_ready = begin_row > 0 ? begin_row - 1 : 0;
    int64_t second_ready = first_ready > 0 ? first_ready - 1 : 0;
    const auto absorb_second = [&](int64_t needed) {
      while (second_ready < needed) {
        const int64_t until = smaller(second_ready + step, needed);
        if (p.with_image) image.run(second_ready, until);
        second.absorb(second_ready, until);
        second_ready = until;
      }
    };
    const auto absorb_first = [&](int64_t needed) {
      while (first_ready < needed) {
        const int64_t until = smaller(first_ready + step, needed);
        absorb_second(smaller(until + 1, height));
        second.finish(first_ready, until);
        first.absorb(first_ready, until);
        first_ready = until;
      }
    };
    for (int64_t row = begin_row; row < end_row; row += step) {
      const int64_t row_end = smaller(row + step, end_row);
      absorb_first(smaller(row_end + 1, height));
      first.finish(row, row_end);
    }
  });
}

DELTAFAST_FLOAT_AND_DOUBLE(wavelet_block_backward, WaveletBlockParams)
DELTAFAST_FLOAT_AND_DOUBLE(wavelet_block, WaveletBlockParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
