// The arithmetic of the edit as a flow that CPU and CUDA share: the activation, and how a path is
// cut into steps.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/shared/macros.h"

namespace deltafast {

constexpr int kMaxFlowSteps = 1024;  // of one path; MAX_FLOW_STEPS of deltafast/ops/delta_flow.py

// 0.6 x + 0.4 sqrt(x^2 + 1): a leaky ReLU of slope 0.2 without its kink.
template <typename A>
DELTAFAST_HD A flow_activation(A x) {
  return A(0.6) * x + A(0.4) * std::sqrt(x * x + A(1));
}

template <typename A>
DELTAFAST_HD A flow_slope(A x) {
  return A(0.6) + A(0.4) * x / std::sqrt(x * x + A(1));
}

// A path: `full` steps of `size`, and one of `rest`; both have alpha's sign.
template <typename A>
struct FlowPath {
  int full;
  A size;
  A rest;
};

template <typename A>
DELTAFAST_HD FlowPath<A> flow_path(A alpha, int64_t steps) {
  const A amount = alpha < A(0) ? -alpha : alpha;
  const A count = amount * static_cast<A>(steps);
  if (!(count <= A(1e30))) return {0, A(0), alpha};  // NaN, or infinite: so will the result be
  if (count > A(kMaxFlowSteps)) return {kMaxFlowSteps, alpha / A(kMaxFlowSteps), A(0)};
  const A size = (alpha < A(0) ? A(-1) : A(1)) / static_cast<A>(steps);
  const int full = static_cast<int>(count);
  return {full, size, alpha - static_cast<A>(full) * size};
}

// How far step `k` of a path goes.
template <typename A>
DELTAFAST_HD A flow_step(const FlowPath<A>& path, int k) {
  return k < path.full ? path.size : k == path.full ? path.rest : A(0);
}

}  // namespace deltafast
