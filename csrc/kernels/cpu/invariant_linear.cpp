// CPU kernel of the row-invariant product; compiled once per instruction set (see dispatch.h).
//
// A unit is kLinearColumns columns of one group's result, for all rows. The sums of an element run
// over the depth in one order, whatever rows and columns share the tile, so its bits are its own.

#include "kernels/invariant_linear.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/vector.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int kTile = 4;  // rows and columns of a tile: 16 sums in flight

template <typename A>
A total(Vector<A> v) {
  A sum = 0;
  for (int i = 0; i < kLanes<A>; ++i) sum += v[i];
  return sum;
}

// y[r, c] = sum_k x[r, k] w[c, k]: the lanes run along k.
template <typename A, int Rows, int Columns>
void dot_tile(int64_t depth, const A* x, const A* w, A* y, int64_t stride) {
  Vector<A> sums[Rows][Columns] = {};
  const auto add = [&](int64_t k, auto read) {
    Vector<A> right[Columns];
#pragma GCC unroll 4
    for (int c = 0; c < Columns; ++c) right[c] = read(w + c * depth + k);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const Vector<A> left = read(x + r * depth + k);
#pragma GCC unroll 4
      for (int c = 0; c < Columns; ++c) sums[r][c] += left * right[c];
    }
  };
  int64_t k = 0;
  for (; k + kLanes<A> <= depth; k += kLanes<A>) add(k, [](const A* at) { return load(at); });
  if (k < depth) add(k, [&](const A* at) { return load_some(at, depth - k); });
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Columns; ++c) y[r * stride + c] = total<A>(sums[r][c]);
  }
}

// y[r, c] = sum_k x[r, k] w[k, c]: the lanes run along c, kTile registers of them, of which
// `columns` elements are there.
template <typename A, int Rows>
void sum_tile(int64_t depth, const A* x, const A* w, int64_t width, int64_t columns, A* y,
              int64_t stride) {
  Vector<A> sums[Rows][kTile] = {};
  const auto add_all = [&](auto read) {
    for (int64_t k = 0; k < depth; ++k) {
      Vector<A> right[kTile];
#pragma GCC unroll 4
      for (int c = 0; c < kTile; ++c) right[c] = read(w + k * width, c * kLanes<A>);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const Vector<A> left = splat(x[r * depth + k]);
#pragma GCC unroll 4
        for (int c = 0; c < kTile; ++c) sums[r][c] += left * right[c];
      }
    }
  };
  if (columns >= kTile * kLanes<A>) {
    add_all([](const A* row, int64_t c) { return load(row + c); });
  } else {
    add_all([&](const A* row, int64_t c) { return load_some(row + c, columns - c); });
  }
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < kTile; ++c) {
      store_some<A>(y + r * stride + c * kLanes<A>, sums[r][c], columns - c * kLanes<A>);
    }
  }
}

template <int N>
struct Count {
  static constexpr int kValue = N;
};

// Calls `tile` with a compile-time number of rows for every kTile of them, and for those left over.
template <typename Tile>
void for_rows(int64_t rows, Tile tile) {
  int64_t r = 0;
  for (; r + kTile <= rows; r += kTile) tile(r, Count<kTile>{});
  for (; r < rows; ++r) tile(r, Count<1>{});
}

template <typename A>
void columns_of_dots(const InvariantLinearParams<A>& p, int64_t group, int64_t first,
                     int64_t last) {
  const int64_t depth = p.inputs, width = p.outputs;
  const A* x = p.x + group * p.rows * depth;
  const A* w = p.weight + group * width * depth;
  A* y = p.y + group * p.rows * width;
  int64_t c = first;
  for (; c + kTile <= last; c += kTile) {
    for_rows(p.rows, [&](int64_t r, auto rows) {
      dot_tile<A, decltype(rows)::kValue, kTile>(depth, x + r * depth, w + c * depth,
                                                 y + r * width + c, width);
    });
  }
  for (; c < last; ++c) {
    for_rows(p.rows, [&](int64_t r, auto rows) {
      dot_tile<A, decltype(rows)::kValue, 1>(depth, x + r * depth, w + c * depth, y + r * width + c,
                                             width);
    });
  }
}

template <typename A>
void columns_of_sums(const InvariantLinearParams<A>& p, int64_t group, int64_t first,
                     int64_t last) {
  const int64_t depth = p.outputs, width = p.inputs;
  const A* x = p.x + group * p.rows * depth;
  const A* w = p.weight + group * p.outputs * p.inputs;
  A* y = p.y + group * p.rows * width;
  for (int64_t c = first; c < last; c += kTile * kLanes<A>) {
    for_rows(p.rows, [&](int64_t r, auto rows) {
      sum_tile<A, decltype(rows)::kValue>(depth, x + r * depth, w + c, width, last - c,
                                          y + r * width + c, width);
    });
  }
}

}  // namespace

template <typename A>
void invariant_linear(const InvariantLinearParams<A>& p, int64_t begin, int64_t end) {
  const int64_t width = p.transposed ? p.inputs : p.outputs;
  const int64_t units = (width + kLinearColumns - 1) / kLinearColumns;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % units * kLinearColumns;
    const int64_t last = first + kLinearColumns < width ? first + kLinearColumns : width;
    if (p.transposed) {
      columns_of_sums(p, unit / units, first, last);
    } else {
      columns_of_dots(p, unit / units, first, last);
    }
  }
}

DELTAFAST_FLOAT_AND_DOUBLE(invariant_linear, InvariantLinearParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
