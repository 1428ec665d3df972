// Index maps of up-sampling, padding, FIR filtering and down-sampling along one axis.
//
// The zero-stuffed, padded signal is never built. Output o sees, through tap t, the up-sampled
// position u = o * down + t - pad; only positions that are multiples of `up` hold a sample, so the
// taps that matter to o are t0, t0 + up, t0 + 2 up, ..., and they meet consecutive inputs i0, i0 +
// 1, i0 + 2, ...
#pragma once

#include <cstdint>

#include "kernels/shared/macros.h"

namespace deltafast {

template <typename I>
DELTAFAST_HD I floor_div(I a, I b) {  // b > 0
  const I q = a / b;
  return (a % b < 0) ? q - 1 : q;
}

template <typename I>
DELTAFAST_HD I ceil_div(I a, I b) {  // b > 0
  return -floor_div<I>(-a, b);
}

// i0: the first input that output `o` sees; negative inside the padding.
template <typename I>
DELTAFAST_HD I fir_first_input(I o, I up, I down, I pad) {
  return ceil_div<I>(o * down - pad, up);
}

// t0: the tap through which output `o` sees input i0; in [0, up).
template <typename I>
DELTAFAST_HD I fir_first_tap(I o, I up, I down, I pad, I first_input) {
  return first_input * up - (o * down - pad);
}

// Number of outputs of an axis of `size` inputs; zero or less where the filter does not fit.
template <typename I>
DELTAFAST_HD I fir_output_size(I size, I up, I down, I pad0, I pad1, I taps) {
  return floor_div<I>(size * up + pad0 + pad1 - taps, down) + 1;
}

}  // namespace deltafast
