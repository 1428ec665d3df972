// A block of MobileStyleGAN on CPUs; compiled once per instruction set (see dispatch.h). One unit
// is a band of rows of one sample. Its layers take turns, a few rows each: what one writes into a
// ring of rows the next reads from there, so that of all activations only the block's input and
// result meet memory. The rows beside a band are worked off by both its neighbours.

#include "kernels/cpu/image_rows.h"
#include "kernels/cpu/instruction_set.h"

namespace deltafast::cpu::DELTAFAST_ISA {

template <typename A>
void wavelet_block(const WaveletBlockParams<A>& p, int64_t begin, int64_t end) {
  const int64_t height = p.first.height, width = p.first.width;
  const int64_t bands = separable_conv_bands(height), rows = separable_conv_band_rows(height);
  const int64_t step = wavelet_block_step(height, width);
  const int64_t between = (step + 2) * width * p.first.outputs;
  const int64_t last = p.with_image ? step * width * p.second.outputs : 0;
  ScratchBlock<A> scratch(between + last, 2);
  const Rows<A> ring{scratch.take(between), step + 2}, result{scratch.take(last), step};
  SeparableLayer<A> first(p.first), second(p.second);
  ImageRows<A> image(p.image);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / bands, begin_row = unit % bands * rows;
    const int64_t end_row = smaller(begin_row + rows, height);
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
  }
}

template void wavelet_block<float>(const WaveletBlockParams<float>&, int64_t, int64_t);
template void wavelet_block<double>(const WaveletBlockParams<double>&, int64_t, int64_t);

}  // namespace deltafast::cpu::DELTAFAST_ISA
