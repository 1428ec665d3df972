// CPU kernel of the conversion to an image; compiled once per instruction set (see dispatch.h).

#include "kernels/to_rgb.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/shared/fir.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

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

// Adds one row of the up-sampled skip image of one colour to `row`.
template <typename A>
void add_skip(const ToRgbParams<A>& p, const A* __restrict__ skip, int64_t oy,
              A* __restrict__ row) {
  const int64_t height = p.height / 2, width = p.width / 2, pad = upsampling_pad(p.taps);
  const int64_t iy0 = fir_first_input<int64_t>(oy, 2, 1, pad);
  const int64_t ty0 = fir_first_tap<int64_t>(oy, 2, 1, pad, iy0);
  for (int64_t ox = 0; ox < p.width; ++ox) {
    const int64_t ix0 = fir_first_input<int64_t>(ox, 2, 1, pad);
    const int64_t tx0 = fir_first_tap<int64_t>(ox, 2, 1, pad, ix0);
    A sum = 0;
    for (int64_t ty = ty0, iy = iy0; ty < p.taps; ty += 2, ++iy) {
      if (iy < 0 || iy >= height) continue;
      A line = 0;
      for (int64_t tx = tx0, ix = ix0; tx < p.taps; tx += 2, ++ix) {
        if (ix >= 0 && ix < width) line += p.filter[tx] * skip[iy * width + ix];
      }
      sum += p.filter[ty] * line;
    }
    row[ox] += p.gain * sum;
  }
}

}  // namespace

// A unit is one row of one sample.
template <typename A>
void to_rgb(const ToRgbParams<A>& p, int64_t begin, int64_t end) {
  const int64_t plane = p.height * p.width;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / p.height, oy = unit % p.height;
    const A* x = static_cast<const A*>(p.x) + unit * p.width * p.channels;
    const A* w = p.weight + sample * p.colours * p.channels;
    A* y = p.y + sample * p.colours * plane + oy * p.width;
    for (int64_t ox = 0; ox < p.width; ++ox) {
      A sums[kMaxImageChannels];
      p.colours == 3 ? three_colours(x + ox * p.channels, w, p.channels, sums)
                     : any_colours(x + ox * p.channels, w, p.channels, p.colours, sums);
      for (int k = 0; k < p.colours; ++k) {
        y[k * plane + ox] = limit(sums[k] + (p.bias ? p.bias[k] : A(0)), p.clamp);
      }
    }
    if (!p.skip) continue;
    for (int k = 0; k < p.colours; ++k) {
      add_skip(p, p.skip + (sample * p.colours + k) * (plane / 4), oy, y + k * plane);
    }
  }
}

template void to_rgb<float>(const ToRgbParams<float>&, int64_t, int64_t);
template void to_rgb<double>(const ToRgbParams<double>&, int64_t, int64_t);

}  // namespace deltafast::cpu::DELTAFAST_ISA
