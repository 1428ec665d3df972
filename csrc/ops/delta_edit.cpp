// torch's side of the edit: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/delta_edit.h"

#include "ops/device.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "delta_edit";

using OptionalTensor = std::optional<Tensor>;

template <typename A>
int cuda_delta_edit(const DeltaEditParams<A>& params, const CudaTarget& target) {
#if defined(DELTAFAST_CUDA)
  if constexpr (sizeof(A) == sizeof(float)) {
    STD_TORCH_CHECK(cuda::delta_edit_fits(params), kName, ": a width of ", params.sizes.width,
                    " needs more shared memory than a CUDA block has; use impl='reference'");
    return cuda::delta_edit(params, target);
  }
#endif
  (void)params;
  (void)target;
  STD_TORCH_CHECK(false, kName, ": there is no float64 kernel on CUDA");
}

template <typename A>
Tensor edit(const Tensor& ws, const Tensor& alpha, const Tensor& direction, const Tensor& index,
            const Tensor& mean, const Tensor& scale, const Tensor& latent_weight,
            const Tensor& latent_bias, const Tensor& hidden_weight, const Tensor& hidden_bias,
            const Tensor& output_weight, const OptionalTensor& output_bias) {
  constexpr ScalarType kType = sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  const int64_t samples = ws.size(0), inputs = ws.size(2), slots = latent_weight.size(0);
  const int64_t width = latent_weight.size(2), hidden = hidden_weight.size(0);
  std::vector<Tensor> kept;
  const auto keep = [&](const Tensor& t, std::initializer_list<int64_t> sizes, const char* name) {
    kept.push_back(dense_argument(t, ws, kType, sizes, kName, name));
    return static_cast<const A*>(kept.back().const_data_ptr());
  };
  const Tensor dense_ws = ws.is_contiguous() ? ws : torch::stable::contiguous(ws);
  const Tensor slot_index = dense_argument(index, ws, ScalarType::Long, {slots}, kName, "index");
  DeltaEditParams<A> params;
  params.sizes = {slots, inputs, width, hidden + 1, 1};
  params.samples = samples;
  params.num_ws = ws.size(1);
  params.index = static_cast<const int64_t*>(slot_index.const_data_ptr());
  params.alpha = keep(alpha, {samples}, "alpha");
  const int64_t directions = direction.size(0);
  STD_TORCH_CHECK(directions == 1 || directions == samples, kName,
                  ": direction must be for one sample or for each");
  params.direction = keep(direction, {directions, 2, slots, width}, "direction");
  params.direction_stride = directions == 1 ? 0 : 2 * slots * width;
  params.mean = keep(mean, {slots, inputs}, "mean");
  params.scale = keep(scale, {}, "scale");
  params.latent_weight = keep(latent_weight, {slots, inputs, width}, "latent_weight");
  params.latent_bias = keep(latent_bias, {slots, width}, "latent_bias");
  params.hidden_weight = keep(hidden_weight, {hidden, slots, width, width}, "hidden_weight");
  params.hidden_bias = keep(hidden_bias, {hidden, slots, width}, "hidden_bias");
  params.output_weight = keep(output_weight, {slots, width, inputs}, "output_weight");
  if (output_bias.has_value()) {
    params.output_bias = keep(*output_bias, {slots, inputs}, "output_bias");
  }
  Tensor y = new_dense(ws, {samples, ws.size(1), inputs}, ws.scalar_type());
  if (y.numel() == 0) return y;
  params.ws = dense_ws.const_data_ptr();
  params.y = y.mutable_data_ptr();
  run_kernel(
      ws, kName, [&] { cpu::delta_edit(params, parallel_for); },
      [&](const CudaTarget& target) { return cuda_delta_edit(params, target); });
  return y;
}

Tensor forward(const Tensor& ws, const Tensor& alpha, const Tensor& direction, const Tensor& index,
               const Tensor& mean, const Tensor& scale, const Tensor& latent_weight,
               const Tensor& latent_bias, const Tensor& hidden_weight, const Tensor& hidden_bias,
               const Tensor& output_weight, const OptionalTensor& output_bias) {
  STD_TORCH_CHECK(ws.dim() == 3, kName, ": ws must be [N, num_ws, w_dim]");
  STD_TORCH_CHECK(latent_weight.dim() == 3 && direction.dim() == 4 && hidden_weight.dim() == 4,
                  kName,
                  ": latent_weight must be [S, w_dim, width], direction [N or 1, 2, S, "
                  "width] and hidden_weight [layers - 1, S, width, width]");
  const auto call = ws.scalar_type() == ScalarType::Double ? &edit<double> : &edit<float>;
  return call(ws, alpha, direction, index, mean, scale, latent_weight, latent_bias, hidden_weight,
              hidden_bias, output_weight, output_bias);
}

}  // namespace

void define_delta_edit(torch::stable::detail::StableLibrary& library) {
  library.def(
      "delta_edit(Tensor ws, Tensor alpha, Tensor direction, Tensor index, Tensor mean, Tensor "
      "scale, Tensor latent_weight, Tensor latent_bias, Tensor hidden_weight, Tensor hidden_bias, "
      "Tensor output_weight, Tensor? output_bias) -> Tensor");
}

void implement_delta_edit(torch::stable::detail::StableLibrary& library) {
  library.impl("delta_edit", TORCH_BOX(&forward));
}

}  // namespace deltafast::ops
