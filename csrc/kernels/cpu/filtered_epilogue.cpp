// CPU kernel of the filter with its epilogue; compiled once per instruction set (see dispatch.h).
//
// A unit is one output row. The vertical pass adds up the input rows of a segment of pixels into a
// buffer that stays in the first cache; the horizontal pass filters the buffer, and the epilogue
// writes what comes out.

#include "kernels/filtered_epilogue.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/vector.h"
#include "kernels/shared/activation.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int64_t kBlock = 64;       // channels that are worked on together
constexpr int64_t kSegment = 32;     // output pixels of a segment
constexpr int64_t kPixelsAhead = 6;  // fetched before they are needed

template <typename A>
constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(A));  // of the cache

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename A>
struct Coefficients {
  A demod[kBlock], bias[kBlock], style[kBlock];

  Coefficients(const EpilogueParams<A>& e, A gain, int64_t sample, int64_t first, int64_t count) {
    const int64_t row = sample * e.channels + first;
    for (int64_t j = 0; j < count; ++j) {
      demod[j] = (e.demod ? e.demod[row + j] : A(1)) * gain;
      bias[j] = e.bias ? e.bias[first + j] : A(0);
      style[j] = e.style ? e.style[row + j] : A(1);
    }
  }
};

// buffer[p] = sum over input rows, for pixels [begin, end) of the padded row and `count` channels.
template <typename A>
void filter_rows(const FilteredEpilogueParams<A>& p, int64_t sample, int64_t oy, int64_t begin,
                 int64_t end, int64_t channel, int64_t count, A* __restrict__ buffer) {
  const EpilogueParams<A>& e = p.epilogue;
  for (int64_t px = begin; px < end; ++px) {
    A* __restrict__ to = buffer + (px - begin) * kBlock;
    const int64_t ix = px - p.pad_x;
    for (int64_t j = 0; j < count; ++j) to[j] = A(0);
    if (ix < 0 || ix >= p.in_w) continue;
    for (int t = 0; t < p.taps; ++t) {
      const int64_t iy = oy + t - p.pad_y;
      if (iy < 0 || iy >= p.in_h) continue;
      const A tap = p.filter[t];
      const A* __restrict__ from = static_cast<const A*>(e.x) +
                                   ((sample * p.in_h + iy) * p.in_w + ix) * e.channels + channel;
      for (int64_t j = 0; j < count; ++j) to[j] += tap * from[j];
    }
  }
}

// The generator's own case: four taps, all rows inside the image, whole blocks of channels.
template <typename A>
void filter_four_rows(const FilteredEpilogueParams<A>& p, const A* top, int64_t pixels,
                      A* __restrict__ buffer) {
  const int64_t row = p.in_w * p.epilogue.channels;
  const A t0 = p.filter[0], t1 = p.filter[1], t2 = p.filter[2], t3 = p.filter[3];
  for (int64_t px = 0; px < pixels; ++px) {
    A* __restrict__ to = buffer + px * kBlock;
    const A* __restrict__ a = top + px * p.epilogue.channels;
    const A* __restrict__ b = a + row;
    const A* __restrict__ c = b + row;
    const A* __restrict__ d = c + row;
    for (int64_t j = 0; j < kBlock; j += kLine<A>) {
      fetch_ahead(d + kPixelsAhead * p.epilogue.channels + j);  // the row that is new
    }
    for (int64_t j = 0; j < kBlock; ++j) to[j] = t0 * a[j] + t1 * b[j] + t2 * c[j] + t3 * d[j];
  }
}

template <int kTaps, typename A>
void filter_columns(const FilteredEpilogueParams<A>& p, const Coefficients<A>& k,
                    const A* __restrict__ buffer, const A* noise, A strength, int64_t pixels,
                    int64_t count, A* __restrict__ y) {
  const Activation<A> activation = p.epilogue.activation;
  const int taps = kTaps ? kTaps : p.taps;
  A f[kMaxEpilogueTaps];
  for (int t = 0; t < taps; ++t) f[t] = p.filter[t];
  for (int64_t px = 0; px < pixels; ++px) {
    const A shift = noise ? strength * noise[px] : A(0);
    const A* __restrict__ from = buffer + px * kBlock;
    A* __restrict__ to = y + px * p.epilogue.channels;
    for (int64_t j = 0; j < count; j += kLine<A>) {
      fetch_ahead(to + kPixelsAhead * p.epilogue.channels + j);
    }
    for (int64_t j = 0; j < count; ++j) {
      A v = 0;
      for (int t = 0; t < taps; ++t) v += f[t] * from[t * kBlock + j];
      to[j] = activate(activation, k.demod[j] * v + shift + k.bias[j]) * k.style[j];
    }
  }
}

}  // namespace

template <typename A>
void filtered_epilogue(const FilteredEpilogueParams<A>& p, int64_t begin, int64_t end) {
  const EpilogueParams<A>& e = p.epilogue;
  const A strength = e.strength ? *e.strength : A(1);
  ScratchBlock<A> scratch((kSegment + kMaxEpilogueTaps) * kBlock, 1);
  A* buffer = scratch.take((kSegment + kMaxEpilogueTaps) * kBlock);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / p.out_h, oy = unit % p.out_h, iy = oy - p.pad_y;
    const A* noise = e.noise ? e.noise + sample * e.noise_stride + oy * p.out_w : nullptr;
    A* row = static_cast<A*>(e.y) + unit * p.out_w * e.channels;
    for (int64_t c = 0; c < e.channels; c += kBlock) {
      const int64_t count = smaller(kBlock, e.channels - c);
      const Coefficients<A> k(e, p.gain, sample, c, count);
      for (int64_t x = 0; x < p.out_w; x += kSegment) {
        const int64_t pixels = smaller(kSegment, p.out_w - x);
        const int64_t ix = x - p.pad_x;
        const bool inside =
            ix >= 0 && ix + pixels + p.taps - 1 <= p.in_w && iy >= 0 && iy + p.taps <= p.in_h;
        if (p.taps == 4 && count == kBlock && inside) {
          const A* top =
              static_cast<const A*>(e.x) + ((sample * p.in_h + iy) * p.in_w + ix) * e.channels + c;
          filter_four_rows(p, top, pixels + 3, buffer);
        } else {
          filter_rows(p, sample, oy, x, x + pixels + p.taps - 1, c, count, buffer);
        }
        const A* noise_here = noise ? noise + x : nullptr;
        A* y = row + x * e.channels + c;
        p.taps == 4 ? filter_columns<4>(p, k, buffer, noise_here, strength, pixels, count, y)
                    : filter_columns<0>(p, k, buffer, noise_here, strength, pixels, count, y);
      }
    }
  }
}

DELTAFAST_FLOAT_AND_DOUBLE(filtered_epilogue, FilteredEpilogueParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
