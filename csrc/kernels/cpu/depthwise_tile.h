// The depthwise 3x3 convolution of a run of pixels of one row, channels last.
#pragma once

#include "kernels/cpu/matrix_tile.h"

namespace deltafast::cpu::DELTAFAST_ISA {

// Three rows of an image as the convolution sees them. A row beyond the image is null; pixels left
// and right of it are read from `zeros`, which holds one pixel of zeros. Each pixel has `readable`
// channels, a multiple of kLanes where the pixels were filled up with zeros.
template <typename A>
struct ThreeRows {
  const A* row[3];  // [width] pixels, `stride` apart
  int64_t width;
  int64_t stride;
  int64_t readable;
  const A* zeros;
};

// Convolves kPixels pixels from `first` on for one vector of channels. `weights` is [9][padded
// channels].
template <typename A, int kPixels>
DELTAFAST_HD void depthwise_vector(const ThreeRows<A>& in, int64_t first, int64_t channel,
                                   const A* weights, int64_t padded, Vector<A> (&sums)[kPixels]) {
  const int64_t count = in.readable - channel;
  const bool whole = count >= kLanes<A>;
#pragma GCC unroll 16
  for (int i = 0; i < kPixels; ++i) sums[i] = splat(A(0));
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r) {
    if (!in.row[r]) continue;
    const A* row = in.row[r] + first * in.stride + channel;
    const A* left = first > 0 ? row - in.stride : in.zeros + channel;
    const A* right = first + kPixels < in.width ? row + kPixels * in.stride : in.zeros + channel;
    Vector<A> w[3];
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s) w[s] = load(weights + (3 * r + s) * padded + channel);
    const auto at = [&](const A* p) { return whole ? load(p) : load_some(p, count); };
    sums[0] += w[0] * at(left);
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) {
      const Vector<A> v = at(row + i * in.stride);
      if (r == 2) fetch_ahead(row + (i + kPixels) * in.stride);  // the row that is new
      sums[i] += w[1] * v;
      if (i + 1 < kPixels) sums[i + 1] += w[0] * v;
      if (i > 0) sums[i - 1] += w[2] * v;
    }
    sums[kPixels - 1] += w[2] * at(right);
  }
}

// Calls `use(pixel, channel, sums)` for every group of pixels in [first, last) and every vector of
// channels; `sums` is an array of one vector for each pixel from `pixel` on.
template <typename A, int kPixels, typename Use>
DELTAFAST_HD int64_t depthwise_groups(const ThreeRows<A>& in, int64_t first, int64_t last,
                                      const A* weights, int64_t padded, Use& use) {
  for (; first + kPixels <= last; first += kPixels) {
    for (int64_t channel = 0; channel < padded; channel += kLanes<A>) {
      Vector<A> sums[kPixels];
      depthwise_vector<A, kPixels>(in, first, channel, weights, padded, sums);
      use(first, channel, sums);
    }
  }
  return first;
}

template <typename A, typename Use>
DELTAFAST_HD void depthwise_run(const ThreeRows<A>& in, int64_t first, int64_t last,
                                const A* weights, int64_t padded, Use& use) {
  first = depthwise_groups<A, 8>(in, first, last, weights, padded, use);
  first = depthwise_groups<A, 2>(in, first, last, weights, padded, use);
  depthwise_groups<A, 1>(in, first, last, weights, padded, use);
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
