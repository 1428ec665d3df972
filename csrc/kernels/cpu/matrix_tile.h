// The matrix product of the separable convolution, one tile of pixels at a time.
//
// The left side is a tile of pixels in blocks of kLanes inner channels, [K /
// kLanes][pixels][kLanes]; the right side is packed into panels of kPanel outer channels, [N /
// kPanel][K][kPanel]. Both are filled up with zeros, so that the product itself meets whole vectors
// only. A register tile of kTilePixels x kPanel sums lives in registers.
#pragma once

#include "kernels/cpu/vector.h"
#include "kernels/separable_conv.h"

namespace deltafast::cpu::DELTAFAST_ISA {

#if defined(__AVX512F__)
constexpr int kTilePixels = 14;  // 28 sums, 2 of the right side, 1 of the left: 31 of 32 registers
#else
constexpr int kTilePixels = 6;  // 12 sums, 2 of the right side, 1 of the left: 15 of 16 registers
#endif
constexpr int kPanelVectors = 2;

template <typename A>
constexpr int kPanel = kPanelVectors * kLanes<A>;

DELTAFAST_HD int64_t round_up(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

// `sums[i][j]` = sum over k of left[k][i] * right[k][j]; `stride` is the distance of two blocks of
// `left`.
template <typename A, int kPixels, int kVectors>
DELTAFAST_HD void multiply(const A* left, int64_t stride, const A* right, int64_t blocks,
                           Vector<A> (&sums)[kPixels][kVectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) sums[i][j] = splat(A(0));
  }
  for (int64_t block = 0; block < blocks; ++block, left += stride) {
    for (int k = 0; k < kLanes<A>; ++k, right += kVectors * kLanes<A>) {
      Vector<A> b[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) b[j] = load(right + j * kLanes<A>);
#pragma GCC unroll 16
      for (int i = 0; i < kPixels; ++i) {
        const Vector<A> a = splat(left[i * kLanes<A> + k]);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sums[i][j] += a * b[j];
      }
    }
  }
}

// Hands every register tile of `pixels` rows to `epilogue.template take<kPixels>(first_pixel,
// sums)`.
template <typename A, int kPixels, int kVectors, typename Epilogue>
DELTAFAST_HD int64_t multiply_tiles(const A* left, int64_t stride, const A* right, int64_t blocks,
                                    int64_t first, int64_t pixels, Epilogue& epilogue) {
  for (; first + kPixels <= pixels; first += kPixels) {
    Vector<A> sums[kPixels][kVectors];
    multiply<A, kPixels, kVectors>(left + first * kLanes<A>, stride, right, blocks, sums);
    epilogue.take(first, sums);
  }
  return first;
}

// The same for any number of pixels: what is left over goes through smaller register tiles.
template <typename A, int kVectors, typename Epilogue>
DELTAFAST_HD void multiply_panel(const A* left, int64_t stride, const A* right, int64_t blocks,
                                 int64_t pixels, Epilogue& epilogue) {
  // Two tiles of 8 pixels are faster than one of 14 and one of 2.
  const int64_t whole = kTilePixels == 14 && pixels % 14 == 2 ? pixels - 16 : pixels;
  int64_t at =
      multiply_tiles<A, kTilePixels, kVectors>(left, stride, right, blocks, 0, whole, epilogue);
  if constexpr (kTilePixels > 8) {
    at = multiply_tiles<A, 8, kVectors>(left, stride, right, blocks, at, pixels, epilogue);
  }
  at = multiply_tiles<A, 4, kVectors>(left, stride, right, blocks, at, pixels, epilogue);
  at = multiply_tiles<A, 2, kVectors>(left, stride, right, blocks, at, pixels, epilogue);
  multiply_tiles<A, 1, kVectors>(left, stride, right, blocks, at, pixels, epilogue);
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
