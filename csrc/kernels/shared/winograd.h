// The one-dimensional transforms of Winograd's minimal filtering (S. Winograd, 1980) behind the 3x3
// convolutions; two dimensions apply them along rows and columns.
//
// Plain, F(2, 3): 2 outputs of a 3-tap correlation from 4 inputs by 4 products instead of 6.
//   y0 = d0 g0 + d1 g1 + d2 g2,  y1 = d1 g0 + d2 g1 + d3 g2
// Up: 4 outputs of a 3-tap transposed convolution with stride 2 from 3 inputs, the first one of the
// tile before, by 5 products instead of 6; the even outputs are F(2, 2).
//   e0 = d0 g2 + d1 g0,  o0 = d1 g1,  e1 = d1 g2 + d2 g0,  o1 = d2 g1
#pragma once

#include "kernels/shared/macros.h"

namespace deltafast {

constexpr int kTransformed = 4;  // transformed inputs, of either algorithm
constexpr int kPlainTileInputs = 4;
constexpr int kPlainTileOutputs = 2;
constexpr int kPlainProducts = 4;
constexpr int kUpTileInputs = 3;
constexpr int kUpTileOutputs = 4;
constexpr int kUpProducts = 5;

// Which transformed input each product takes.
DELTAFAST_HD int product_input(bool up, int product) {
  return up && product >= 3 ? (product == 3 ? 1 : 3) : product;
}

// `v` may be a number or a vector of them; element i of an array is at i * stride.
template <bool kUp, typename V>
DELTAFAST_HD void transform_input(const V* d, int stride, V* v, int step) {
  if constexpr (kUp) {
    const V d0 = d[0], d1 = d[stride], d2 = d[2 * stride];
    v[0] = d0 - d1;
    v[step] = d1;
    v[2 * step] = d1 - d2;
    v[3 * step] = d2;
  } else {
    const V d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride];
    v[0] = d0 - d2;
    v[step] = d1 + d2;
    v[2 * step] = d2 - d1;
    v[3 * step] = d1 - d3;
  }
}

template <bool kUp, typename V>
DELTAFAST_HD void transform_filter(const V* g, int stride, V* u, int step) {
  const V g0 = g[0], g1 = g[stride], g2 = g[2 * stride];
  if constexpr (kUp) {
    u[0] = g2;
    u[step] = g0 + g2;
    u[2 * step] = g0;
    u[3 * step] = g1;
    u[4 * step] = g1;
  } else {
    u[0] = g0;
    u[step] = (g0 + g1 + g2) * V(0.5);
    u[2 * step] = (g0 - g1 + g2) * V(0.5);
    u[3 * step] = g2;
  }
}

template <bool kUp, typename V>
DELTAFAST_HD void transform_output(const V* m, int stride, V* y, int step) {
  const V m0 = m[0], m1 = m[stride], m2 = m[2 * stride], m3 = m[3 * stride];
  if constexpr (kUp) {
    y[0] = m0 + m1;
    y[step] = m3;
    y[2 * step] = m1 - m2;
    y[3 * step] = m[4 * stride];
  } else {
    y[0] = m0 + m1 + m2;
    y[step] = m1 - m2 - m3;
  }
}

}  // namespace deltafast
