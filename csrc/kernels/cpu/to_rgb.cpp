// CPU kernel of the conversion to an image; compiled once per instruction set (see dispatch.h).

#include "kernels/to_rgb.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/vector.h"
#include "kernels/shared/fir.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int64_t kPixelsAhead = 8;  // fetched before they are needed

template <typename A>
A limit(A v, A clamp) {
  v = v > clamp ? clamp : v;
  return v < -clamp ? -clamp : v;
}

// Three colours of one pixel: x is read once.
template <typename A>
void three_colours(const A* __restrict__ x, const A* __restrict__ w, int64_t channels, A* sums) {
  const A* __restrict__ green = w + channels;
  const A* __restrict__ blue = green + channels;
  A r = 0, g = 0, b = 0;
#pragma omp simd reduction(+ : r, g, b)
  for (int64_t c = 0; c < channels; ++c) {
    r += w[c] * x[c];
    g += green[c] * x[c];
    b += blue[c] * x[c];
  }
  sums[0] = r;
  sums[1] = g;
  sums[2] = b;
}

template <typename A>
void any_colours(const A* __restrict__ x, const A* __restrict__ w, int64_t channels, int colours,
                 A* sums) {
  for (int k = 0; k < colours; ++k) {
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < channels; ++c) sum += w[k * channels + c] * x[c];
    sums[k] = sum;
  }
}

// Adds one row of the up-sampled skip image of one colour to `row`: its input rows are summed up
// first, into `line`, which has kMaxSkipTaps zeros on each side; even and odd pixels then see one
// half of the taps each.
template <typename A>
void add_skip(const ToRgbParams<A>& p, const A* __restrict__ skip, int64_t oy, A* __restrict__ line,
              A* __restrict__ row) {
  const int64_t height = p.height / 2, width = p.width / 2, pad = upsampling_pad(p.taps);
  const int64_t iy0 = fir_first_input<int64_t>(oy, 2, 1, pad);
  A* __restrict__ inner = line + kMaxSkipTaps;
  for (int64_t ix = 0; ix < width; ++ix) inner[ix] = 0;
  int64_t iy = iy0;
  for (int64_t ty = fir_first_tap<int64_t>(oy, 2, 1, pad, iy0); ty < p.taps; ty += 2, ++iy) {
    if (iy < 0 || iy >= height) continue;
    const A tap = p.filter[ty] * p.gain;
    const A* __restrict__ in = skip + iy * width;
    for (int64_t ix = 0; ix < width; ++ix) inner[ix] += tap * in[ix];
  }
  for (int64_t parity = 0; parity < 2; ++parity) {
    const int64_t ix0 = fir_first_input<int64_t>(parity, 2, 1, pad);
    const int64_t first = fir_first_tap<int64_t>(parity, 2, 1, pad, ix0);
    const A* __restrict__ in = inner + ix0;
    A* __restrict__ out = row + parity;
    if (p.taps - first <= 4 &&
        p.taps - first > 2) {  // the filter that StyleGAN2 uses has four taps
      const A a = p.filter[first], b = p.filter[first + 2];
      for (int64_t ix = 0; ix < width; ++ix) out[2 * ix] += a * in[ix] + b * in[ix + 1];
      continue;
    }
    for (int64_t tap = first, k = 0; tap < p.taps; tap += 2, ++k) {
      for (int64_t ix = 0; ix < width; ++ix) out[2 * ix] += p.filter[tap] * in[ix + k];
    }
  }
}

}  // namespace

// A unit is one row of one sample.
template <typename A>
void to_rgb(const ToRgbParams<A>& p, int64_t begin, int64_t end) {
  const int64_t plane = p.height * p.width, padded = p.width / 2 + 2 * kMaxSkipTaps;
  ScratchBlock<A> scratch(p.skip ? padded : 0, 1);
  A* line = scratch.take(p.skip ? padded : 0);
  for (int64_t i = 0; p.skip && i < padded; ++i) line[i] = 0;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / p.height, oy = unit % p.height;
    const A* x = static_cast<const A*>(p.x) + unit * p.width * p.channels;
    const A* w = p.weight + sample * p.colours * p.channels;
    A* y = p.y + sample * p.colours * plane + oy * p.width;
    for (int64_t ox = 0; ox < p.width; ++ox) {
      for (int64_t c = 0; c < p.channels; c += 64 / static_cast<int64_t>(sizeof(A))) {
        fetch_ahead(x + (ox + kPixelsAhead) * p.channels + c);
      }
      A sums[kMaxImageChannels];
      p.colours == 3 ? three_colours(x + ox * p.channels, w, p.channels, sums)
                     : any_colours(x + ox * p.channels, w, p.channels, p.colours, sums);
      for (int k = 0; k < p.colours; ++k) {
        y[k * plane + ox] = limit(sums[k] + (p.bias ? p.bias[k] : A(0)), p.clamp);
      }
    }
    if (!p.skip) continue;
    for (int k = 0; k < p.colours; ++k) {
      add_skip(p, p.skip + (sample * p.colours + k) * (plane / 4), oy, line, y + k * plane);
    }
  }
}

DELTAFAST_FLOAT_AND_DOUBLE(to_rgb, ToRgbParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
