// A matrix product for small and narrow matrices, in registers: no packing, no threads, no call
// into a library. Included inside one copy of the kernels only.
#pragma once

#include <cstdint>

#include "kernels/cpu/vector.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kMaxRows = 8;  // x 2 vectors of columns: 16 sums in flight, of 32 registers
#else
constexpr int kMaxRows = 6;  // 12 sums, of 16 registers
#endif

// A left-hand matrix: element (m, k) is at[m * row + k * column].
template <typename A>
struct Left {
  const A* at;
  int64_t row;
  int64_t column;
};

template <typename A, int Rows, int Vectors, bool Add>
void multiply_tile(int64_t depth, const Left<A>& a, const A* b, int64_t ldb, A* c, int64_t ldc) {
  Vector<A> sums[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      sums[r][v] = Add ? load(c + r * ldc + v * kLanes<A>) : Vector<A>{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector<A> right[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) right[v] = load(b + k * ldb + v * kLanes<A>);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Vector<A> left = splat(a.at[r * a.row + k * a.column]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sums[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store<A>(c + r * ldc + v * kLanes<A>, sums[r][v]);
  }
}

// All columns of a band of `Rows` rows.
template <typename A, int Rows, bool Add>
void multiply_rows(int64_t columns, int64_t depth, const Left<A>& a, const A* b, int64_t ldb, A* c,
                   int64_t ldc) {
  int64_t n = 0;
  for (; n + 2 * kLanes<A> <= columns; n += 2 * kLanes<A>) {
    multiply_tile<A, Rows, 2, Add>(depth, a, b + n, ldb, c + n, ldc);
  }
  if (n + kLanes<A> <= columns) {
    multiply_tile<A, Rows, 1, Add>(depth, a, b + n, ldb, c + n, ldc);
    n += kLanes<A>;
  }
  for (; n < columns; ++n) {
    for (int r = 0; r < Rows; ++r) {
      A sum = Add ? c[r * ldc + n] : A(0);
      for (int64_t k = 0; k < depth; ++k) sum += a.at[r * a.row + k * a.column] * b[k * ldb + n];
      c[r * ldc + n] = sum;
    }
  }
}

template <typename A, int Rows, bool Add>
void multiply_band(int64_t rows, int64_t columns, int64_t depth, const Left<A>& a, const A* b,
                   int64_t ldb, A* c, int64_t ldc) {
  if constexpr (Rows > 1) {
    if (rows < Rows) {
      multiply_band<A, Rows - 1, Add>(rows, columns, depth, a, b, ldb, c, ldc);
      return;
    }
  }
  multiply_rows<A, Rows, Add>(columns, depth, a, b, ldb, c, ldc);
}

// c [rows, columns] (+)= a [rows, depth] b [depth, columns]; b and c have contiguous rows, ldb and
// ldc apart. Each sum runs over the depth in order, whatever the sizes.
template <bool Add, typename A>
void multiply(int64_t rows, int64_t columns, int64_t depth, Left<A> a, const A* b, int64_t ldb,
              A* c, int64_t ldc) {
  while (rows > 0) {
    const int64_t bands = (rows + kMaxRows - 1) / kMaxRows;
    const int64_t band = (rows + bands - 1) / bands;  // bands of about the same height
    multiply_band<A, kMaxRows, Add>(band, columns, depth, a, b, ldb, c, ldc);
    a.at += band * a.row;
    c += band * ldc;
    rows -= band;
  }
}

// to [columns, rows] = from [rows, columns]
template <typename A>
void transpose(int64_t rows, int64_t columns, const A* __restrict__ from, A* __restrict__ to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
  }
}

}  // namespace
}  // namespace deltafast::cpu::DELTAFAST_ISA
