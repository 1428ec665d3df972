// torch's side of the training step of E and D: arguments, results. The kernels are in kernels/.

#include "kernels/delta_loss.h"

#include <tuple>

#include "ops/noise.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "delta_loss";

void check_identities(const int64_t* values, int64_t pairs, int64_t identities, const char* name) {
  for (int64_t p = 0; p < pairs; ++p) {
    STD_TORCH_CHECK(values[p] >= 0 && values[p] < identities, kName, ": ", name, " holds ",
                    values[p], ", but x has identities 0 to ", identities - 1);
  }
}

std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& first, const Tensor& second,
                                   const Tensor& weights, const Tensor& seed, const Tensor& step,
                                   const Tensor& first_sample, int64_t width, int64_t layers,
                                   int64_t dim, double noise_encoder, double noise_decoder,
                                   double lambda_a, double lambda_b) {
  STD_TORCH_CHECK(x.dim() == 4, kName, ": x must be [slots, identities, frames, w_dim]");
  STD_TORCH_CHECK(x.numel() > 0 && x.size(2) >= 2 && first.numel() > 0, kName,
                  ": x must not be empty, with at least two frames, and first must name a pair");
  STD_TORCH_CHECK(width >= 1 && layers >= 1 && dim >= 1, kName,
                  ": width, layers and dim must be at least 1");
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    DeltaLossParams<A> params;
    params.sizes = {x.size(0), x.size(3), width, layers, dim};
    params.identities = x.size(1);
    params.frames = x.size(2);
    params.pairs = first.numel();
    const int64_t count = delta_layout(params.sizes).count;
    params.x = arguments.image(x, Layout::kNchw, "x");
    params.first = arguments.template read<int64_t>(first, {params.pairs}, "first");
    params.second = arguments.template read<int64_t>(second, {params.pairs}, "second");
    params.weights = arguments.read(weights, {count}, "weights");
    params.key = read_noise_key(arguments, seed, step, first_sample);
    params.noise_encoder = static_cast<A>(noise_encoder);
    params.noise_decoder = static_cast<A>(noise_decoder);
    params.lambda_a = static_cast<A>(lambda_a);
    params.lambda_b = static_cast<A>(lambda_b);
    Tensor loss = new_dense(x, {}, arguments.kType);
    Tensor gradients = new_dense(x, {count}, arguments.kType);
    params.loss = static_cast<A*>(loss.mutable_data_ptr());
    params.gradients = static_cast<A*>(gradients.mutable_data_ptr());
    run_kernel<A>(
        kName, x,
        [&] {
          check_identities(params.first, params.pairs, params.identities, "first");
          check_identities(params.second, params.pairs, params.identities, "second");
          params.workspace = arguments.template scratch<double>(cpu::delta_loss_workspace(params));
          cpu::delta_loss(params, parallel_for);
        },
        [&](const auto& target) {
          params.workspace =
              arguments.template scratch<float>(cuda::delta_loss_workspace(params, target));
          return cuda::delta_loss(params, target);
        });
    return std::make_tuple(loss, gradients);
  });
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) { library.impl("delta_loss", TORCH_BOX(&forward)); }

}  // namespace
}  // namespace deltafast::ops
