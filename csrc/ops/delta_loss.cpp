// torch's side of the training step of E and D: schema, arguments, dispatch. The kernels are in
// kernels/.

#include "kernels/delta_loss.h"

#include <tuple>

#include "ops/device.h"
#include "ops/noise.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "delta_loss";

void check_identities(const Tensor& index, int64_t identities, const char* name) {
  const auto* values = static_cast<const int64_t*>(index.const_data_ptr());
  for (int64_t p = 0; p < index.numel(); ++p) {
    STD_TORCH_CHECK(values[p] >= 0 && values[p] < identities, kName, ": ", name, " holds ",
                    values[p], ", but x has identities 0 to ", identities - 1);
  }
}

template <typename A>
void run(DeltaLossParams<A>& params, const Tensor& x) {
  if (!runs_on_cuda(x)) {
    const int64_t doubles = cpu::delta_loss_workspace(params);
    const Tensor workspace = new_dense(x, {doubles}, ScalarType::Double);
    params.workspace = workspace.mutable_data_ptr();
    cpu::delta_loss(params, parallel_for);
    return;
  }
#if defined(DELTAFAST_CUDA)
  if constexpr (sizeof(A) == sizeof(float)) {
    const int64_t floats = cuda::delta_loss_workspace(params);
    const Tensor workspace = new_dense(x, {floats}, ScalarType::Float);
    params.workspace = workspace.mutable_data_ptr();
    run_kernel(
        x, kName, [] {},
        [&](const CudaTarget& target) { return cuda::delta_loss(params, target); });
  } else {
    STD_TORCH_CHECK(false, kName, ": there is no float64 kernel on CUDA");
  }
#endif
}

template <typename A>
std::tuple<Tensor, Tensor> step(const Tensor& x, const Tensor& first, const Tensor& second,
                                const Tensor& weights, const NoiseTensors& noise,
                                const DeltaSizes& sizes, double noise_encoder, double noise_decoder,
                                double lambda_a, double lambda_b) {
  constexpr ScalarType kType = sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  DeltaLossParams<A> params;
  params.sizes = sizes;
  params.identities = x.size(1);
  params.frames = x.size(2);
  params.pairs = first.numel();
  const int64_t count = delta_layout(sizes).count;
  const Tensor dense_x = x.is_contiguous() ? x : torch::stable::contiguous(x);
  const Tensor from = dense_argument(first, x, ScalarType::Long, {params.pairs}, kName, "first");
  const Tensor to = dense_argument(second, x, ScalarType::Long, {params.pairs}, kName, "second");
  const Tensor dense_weights = dense_argument(weights, x, kType, {count}, kName, "weights");
  Tensor loss = new_dense(x, {}, kType);
  Tensor gradients = new_dense(x, {count}, kType);
  if (!runs_on_cuda(x)) {
    check_identities(from, params.identities, "first");
    check_identities(to, params.identities, "second");
  }
  params.x = dense_x.const_data_ptr();
  params.first = static_cast<const int64_t*>(from.const_data_ptr());
  params.second = static_cast<const int64_t*>(to.const_data_ptr());
  params.weights = static_cast<const A*>(dense_weights.const_data_ptr());
  params.key = noise.key;
  params.noise_encoder = static_cast<A>(noise_encoder);
  params.noise_decoder = static_cast<A>(noise_decoder);
  params.lambda_a = static_cast<A>(lambda_a);
  params.lambda_b = static_cast<A>(lambda_b);
  params.loss = static_cast<A*>(loss.mutable_data_ptr());
  params.gradients = static_cast<A*>(gradients.mutable_data_ptr());
  run(params, dense_x);
  return std::make_tuple(loss, gradients);
}

std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& first, const Tensor& second,
                                   const Tensor& weights, const Tensor& seed, const Tensor& step_at,
                                   const Tensor& first_sample, int64_t width, int64_t layers,
                                   int64_t dim, double noise_encoder, double noise_decoder,
                                   double lambda_a, double lambda_b) {
  STD_TORCH_CHECK(x.dim() == 4, kName, ": x must be [slots, identities, frames, w_dim]");
  STD_TORCH_CHECK(x.numel() > 0 && x.size(2) >= 2 && first.numel() > 0, kName,
                  ": x must not be empty, with at least two frames, and first must name a pair");
  STD_TORCH_CHECK(width >= 1 && layers >= 1 && dim >= 1, kName,
                  ": width, layers and dim must be at least 1");
  const DeltaSizes sizes{x.size(0), x.size(3), width, layers, dim};
  const NoiseTensors noise(seed, step_at, first_sample, x, kName);
  const auto call = x.scalar_type() == ScalarType::Double ? &step<double> : &step<float>;
  return call(x, first, second, weights, noise, sizes, noise_encoder, noise_decoder, lambda_a,
              lambda_b);
}

}  // namespace

void define_delta_loss(torch::stable::detail::StableLibrary& library) {
  library.def(
      "delta_loss(Tensor x, Tensor first, Tensor second, Tensor weights, Tensor seed, Tensor step, "
      "Tensor first_sample, int width, int layers, int dim, float noise_encoder, float "
      "noise_decoder, float lambda_a, float lambda_b) -> (Tensor, Tensor)");
}

void implement_delta_loss(torch::stable::detail::StableLibrary& library) {
  library.impl("delta_loss", TORCH_BOX(&forward));
}

}  // namespace deltafast::ops
