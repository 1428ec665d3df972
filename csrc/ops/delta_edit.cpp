// torch's side of the edit: arguments, results. The kernels are in kernels/.

#include "kernels/delta_edit.h"

#include "ops/arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "delta_edit";

Tensor forward(const Tensor& ws, const Tensor& alpha, const Tensor& direction, const Tensor& index,
               const Tensor& mean, const Tensor& scale, const Tensor& latent_weight,
               const Tensor& latent_bias, const Tensor& hidden_weight, const Tensor& hidden_bias,
               const Tensor& output_weight, const OptionalTensor& output_bias) {
  STD_TORCH_CHECK(ws.dim() == 3, kName, ": ws must be [N, num_ws, w_dim]");
  STD_TORCH_CHECK(latent_weight.dim() == 3 && direction.dim() == 4 && hidden_weight.dim() == 4,
                  kName,
                  ": latent_weight must be [S, w_dim, width], direction [N or 1, 2, S, "
                  "width] and hidden_weight [layers - 1, S, width, width]");
  const int64_t samples = ws.size(0), num_ws = ws.size(1), inputs = ws.size(2);
  const int64_t slots = latent_weight.size(0), width = latent_weight.size(2);
  const int64_t hidden = hidden_weight.size(0), directions = direction.size(0);
  STD_TORCH_CHECK(directions == 1 || directions == samples, kName,
                  ": direction must be for one sample or for each");
  Tensor y = new_dense(ws, {samples, num_ws, inputs}, ws.scalar_type());
  return with_accumulation_type(kName, ws, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, ws);
    DeltaEditParams<A> params;
    params.sizes = {slots, inputs, width, hidden + 1, 1};
    params.samples = samples;
    params.num_ws = num_ws;
    params.index = arguments.template read<int64_t>(index, {slots}, "index");
    params.alpha = arguments.read(alpha, {samples}, "alpha");
    params.direction = arguments.read(direction, {directions, 2, slots, width}, "direction");
    params.direction_stride = directions == 1 ? 0 : 2 * slots * width;
    params.mean = arguments.read(mean, {slots, inputs}, "mean");
    params.scale = arguments.read(scale, {}, "scale");
    params.latent_weight = arguments.read(latent_weight, {slots, inputs, width}, "latent_weight");
    params.latent_bias = arguments.read(latent_bias, {slots, width}, "latent_bias");
    params.hidden_weight =
        arguments.read(hidden_weight, {hidden, slots, width, width}, "hidden_weight");
    params.hidden_bias = arguments.read(hidden_bias, {hidden, slots, width}, "hidden_bias");
    params.output_weight = arguments.read(output_weight, {slots, width, inputs}, "output_weight");
    params.output_bias = arguments.read(output_bias, {slots, inputs}, "output_bias");
    if (y.numel() == 0) return y;
    params.ws = arguments.image(ws, Layout::kNchw, "ws");
    params.y = y.mutable_data_ptr();
    run_kernel<A>(
        kName, ws, [&] { cpu::delta_edit(params, parallel_for); },
        [&](const auto& target) {
          STD_TORCH_CHECK(cuda::delta_edit_fits(params, target), kName, ": a width of ", width,
                          " needs more shared memory than a CUDA block has; use impl='reference'");
          return cuda::delta_edit(params, target);
        });
    return y;
  });
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) { library.impl("delta_edit", TORCH_BOX(&forward)); }

}  // namespace
}  // namespace deltafast::ops
