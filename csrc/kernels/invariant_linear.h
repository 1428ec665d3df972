// Matrix products whose rows do not depend on each other's number: y = x W^T or x W, the same bits
// for a sample whatever it is batched with. Free of torch.
#pragma once

#include <cstdint>

#include "kernels/target.h"

namespace deltafast {

template <typename A>
struct InvariantLinearParams {
  int64_t groups = 0;         // independent products
  int64_t rows = 0;           // samples
  int64_t outputs = 0;        // of the weight, in either direction
  int64_t inputs = 0;         //
  bool transposed = false;    // x W, from outputs to inputs, instead of x W^T
  const A* x = nullptr;       // [groups, rows, inputs]; transposed: [groups, rows, outputs]
  const A* weight = nullptr;  // [groups, outputs, inputs]
  A* y = nullptr;             // [groups, rows, outputs]; transposed: [groups, rows, inputs]
};

namespace cpu {
// Columns of y that one unit of work owns, for all rows: their part of the weight is read once.
constexpr int64_t kLinearColumns = 64;
template <typename A>
void invariant_linear(const InvariantLinearParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

}  // namespace deltafast
