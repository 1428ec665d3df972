// torch's side of the row-invariant product: arguments, results. The kernel is in kernels/.

#include "kernels/invariant_linear.h"

#include "ops/arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "invariant_linear";

Tensor forward(const Tensor& x, const Tensor& weight, bool transposed) {
  STD_TORCH_CHECK(x.dim() == 3, kName, ": x must be [G, N, C]");
  STD_TORCH_CHECK(weight.dim() == 3, kName, ": weight must be [G, O, C]");
  const int64_t groups = x.size(0), rows = x.size(1);
  const int64_t outputs = weight.size(1), inputs = weight.size(2);
  const int64_t depth = transposed ? outputs : inputs, width = transposed ? inputs : outputs;
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    InvariantLinearParams<A> params;
    params.groups = groups;
    params.rows = rows;
    params.outputs = outputs;
    params.inputs = inputs;
    params.transposed = transposed;
    params.x = arguments.read(x, {groups, rows, depth}, "x");
    params.weight = arguments.read(weight, {groups, outputs, inputs}, "weight");
    Tensor y = new_dense(x, {groups, rows, width}, kScalarType<A>);
    if (y.numel() == 0) return y;
    params.y = static_cast<A*>(y.mutable_data_ptr());
    cpu::invariant_linear(params, parallel_for);
    return y;
  });
}

DELTAFAST_IMPLEMENT_CPU(library) { library.impl("invariant_linear", TORCH_BOX(&forward)); }

}  // namespace
}  // namespace deltafast::ops
