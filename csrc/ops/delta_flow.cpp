// torch's side of the edit as a flow: arguments, results. The kernels are in kernels/.

#include "kernels/delta_flow.h"

#include <tuple>

#include "ops/arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "delta_flow";

void check(const Tensor& start, const Tensor& direction, const Tensor& mixing, int64_t steps) {
  STD_TORCH_CHECK(start.dim() == 3 && direction.dim() == 3, kName,
                  ": start must be [S, N, width] and direction [S, N or 1, width]");
  STD_TORCH_CHECK(mixing.dim() == 4 && mixing.size(0) >= 1, kName,
                  ": mixing must be [layers, S, width, width], with at least one layer");
  STD_TORCH_CHECK(direction.size(1) == 1 || direction.size(1) == start.size(1), kName,
                  ": direction must be for one sample or for each");
  STD_TORCH_CHECK(steps >= 1 && steps <= kMaxFlowSteps, kName, ": steps must be 1 to ",
                  kMaxFlowSteps);
}

// What both passes read.
template <typename A>
DeltaFlowParams<A> read(Arguments<A>& arguments, const Tensor& start, const Tensor& alpha,
                        const Tensor& direction, const Tensor& mixing, const Tensor& bias,
                        int64_t steps) {
  const int64_t slots = start.size(0), samples = start.size(1), width = start.size(2);
  const int64_t layers = mixing.size(0), directions = direction.size(1);
  DeltaFlowParams<A> params;
  params.slots = slots;
  params.samples = samples;
  params.width = width;
  params.layers = layers;
  params.steps = steps;
  params.start = arguments.read(start, {slots, samples, width}, "start");
  params.alpha = arguments.read(alpha, {samples}, "alpha");
  params.direction = arguments.read(direction, {slots, directions, width}, "direction");
  params.one_direction = directions == 1;
  params.mixing = arguments.read(mixing, {layers, slots, width, width}, "mixing");
  params.bias = arguments.read(bias, {layers - 1, slots, width}, "bias");
  return params;
}

template <typename Params, typename Target>
void check_fits(const Params& params, bool backward, const Target& target) {
  STD_TORCH_CHECK(cuda::delta_flow_fits(params, backward, target), kName, ": a width of ",
                  params.width, " with ", params.layers,
                  " layers needs more shared memory than a CUDA block has; use impl='reference'");
}

Tensor forward(const Tensor& start, const Tensor& alpha, const Tensor& direction,
               const Tensor& mixing, const Tensor& bias, int64_t steps) {
  check(start, direction, mixing, steps);
  Tensor result =
      new_dense(start, {start.size(0), start.size(1), start.size(2)}, start.scalar_type());
  return with_accumulation_type(kName, start, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, start);
    DeltaFlowParams<A> params = read(arguments, start, alpha, direction, mixing, bias, steps);
    if (result.numel() == 0) return result;
    params.result = static_cast<A*>(result.mutable_data_ptr());
    run_kernel<A>(
        kName, start, [&] { cpu::delta_flow(params, parallel_for); },
        [&](const auto& target) {
          check_fits(params, false, target);
          return cuda::delta_flow(params, target);
        });
    return result;
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& start,
                                                    const Tensor& alpha, const Tensor& direction,
                                                    const Tensor& mixing, const Tensor& transposed,
                                                    const Tensor& bias, int64_t steps) {
  check(start, direction, mixing, steps);
  const int64_t slots = start.size(0), samples = start.size(1), width = start.size(2);
  const ScalarType type = start.scalar_type();
  Tensor grad_start = new_dense(start, {slots, samples, width}, type);
  Tensor grad_direction = new_dense(start, {slots, samples, width}, type);
  Tensor grad_alpha = new_dense(start, {slots, samples}, type);
  return with_accumulation_type(kName, start, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, start);
    DeltaFlowParams<A> params = read(arguments, start, alpha, direction, mixing, bias, steps);
    Tensor sums = new_dense(start, {kFlowRuns, slots, flow_sums(params)}, type);
    params.grad = arguments.read(grad, {slots, samples, width}, "grad");
    params.transposed =
        arguments.read(transposed, {mixing.size(0), slots, width, width}, "transposed");
    params.grad_start = static_cast<A*>(grad_start.mutable_data_ptr());
    params.grad_direction = static_cast<A*>(grad_direction.mutable_data_ptr());
    params.grad_alpha = static_cast<A*>(grad_alpha.mutable_data_ptr());
    params.sums = static_cast<A*>(sums.mutable_data_ptr());
    if (slots > 0 && width > 0) {
      run_kernel<A>(
          kName, start, [&] { cpu::delta_flow_backward(params, parallel_for); },
          [&](const auto& target) {
            check_fits(params, true, target);
            return cuda::delta_flow_backward(params, target);
          });
    }
    return std::make_tuple(grad_start, grad_direction, grad_alpha, sums);
  });
}

// The whole edit, on CPUs.
Tensor edit(const Tensor& ws, const Tensor& alpha, const Tensor& direction, const Tensor& index,
            const Tensor& latent_weight, const Tensor& latent_bias, const Tensor& mixing,
            const Tensor& bias, const Tensor& output_weight, int64_t steps) {
  STD_TORCH_CHECK(ws.dim() == 3 && latent_weight.dim() == 3, kName,
                  ": ws must be [N, num_ws, w_dim] and latent_weight [S, w_dim, width]");
  STD_TORCH_CHECK(direction.dim() == 3 && mixing.dim() == 4 && mixing.size(0) >= 1, kName,
                  ": direction must be [S, N or 1, width] and mixing [layers, S, width, width]");
  STD_TORCH_CHECK(steps >= 1 && steps <= kMaxFlowSteps, kName, ": steps must be 1 to ",
                  kMaxFlowSteps);
  const int64_t samples = ws.size(0), num_ws = ws.size(1), inputs = ws.size(2);
  const int64_t slots = latent_weight.size(0), width = latent_weight.size(2);
  const int64_t layers = mixing.size(0), directions = direction.size(1);
  STD_TORCH_CHECK(directions == 1 || directions == samples, kName,
                  ": direction must be for one sample or for each");
  Tensor y = new_dense(ws, {samples, num_ws, inputs}, ws.scalar_type());
  return with_accumulation_type(kName, ws, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, ws);
    DeltaFlowEditParams<A> params;
    DeltaFlowParams<A>& flow = params.flow;
    flow.slots = slots;
    flow.samples = samples;
    flow.width = width;
    flow.layers = layers;
    flow.steps = steps;
    flow.alpha = arguments.read(alpha, {samples}, "alpha");
    flow.direction = arguments.read(direction, {slots, directions, width}, "direction");
    flow.one_direction = directions == 1;
    flow.mixing = arguments.read(mixing, {layers, slots, width, width}, "mixing");
    flow.bias = arguments.read(bias, {layers - 1, slots, width}, "bias");
    params.num_ws = num_ws;
    params.inputs = inputs;
    params.index = arguments.template read<int64_t>(index, {slots}, "index");
    params.latent_weight = arguments.read(latent_weight, {slots, inputs, width}, "latent_weight");
    params.latent_bias = arguments.read(latent_bias, {slots, width}, "latent_bias");
    params.output_weight = arguments.read(output_weight, {slots, width, inputs}, "output_weight");
    if (y.numel() == 0) return y;
    params.ws = arguments.template image<A>(ws, Layout::kNchw, "ws");
    params.y = static_cast<A*>(y.mutable_data_ptr());
    cpu::delta_flow_edit(params, parallel_for);
    return y;
  });
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) {
  library.impl("delta_flow", TORCH_BOX(&forward));
  library.impl("delta_flow_backward", TORCH_BOX(&backward));
}

DELTAFAST_IMPLEMENT_CPU(library) { library.impl("delta_flow_edit", TORCH_BOX(&edit)); }

}  // namespace
}  // namespace deltafast::ops
