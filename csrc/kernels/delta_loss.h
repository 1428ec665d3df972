// One training step of E and D but for the optimiser: the paper's loss over all frame pairs of
// pairs of identities, and its gradient for every weight. Free of torch.
//
// With a = x[first[p]], b = x[second[p]], noise n_a and n_b of pair p, and every ordered pair of
// frames i != j:
//   code_ij = E(a_i + n_a, a_j + n_a)
//   loss = mean of lambda_a |D(a_i + n_b, code_ij) - (a_j - a_i)|^2 and the same for b
//
// The change D predicts is F W + v, with F the last hidden layer [width] and W the last weight
// [width, inputs], and inputs are many while width is small. So neither the change nor its error is
// ever built: |F W + v - t|^2 and its gradients need F only through W W^T [width, width], and the
// targets t = x_j - x_i only through the frames' x W^T [width].
#pragma once

#include <cstdint>

#include "kernels/philox.h"
#include "kernels/shared/delta_layout.h"
#include "kernels/target.h"

namespace deltafast {

constexpr int kEncoderStream = 0;  // n_a
constexpr int kDecoderStream = 1;  // n_b

template <typename A>
struct DeltaLossParams {
  DeltaSizes sizes{};
  int64_t identities = 0;
  int64_t frames = 0;
  int64_t pairs = 0;
  const void* x = nullptr;          // [slots, identities, frames, inputs]
  const int64_t* first = nullptr;   // [pairs]
  const int64_t* second = nullptr;  // [pairs]
  const A* weights = nullptr;       // all weights, as DeltaLayout says
  NoiseKey key;
  A noise_encoder{};
  A noise_decoder{};
  A lambda_a{};
  A lambda_b{};
  A* loss = nullptr;       // []
  A* gradients = nullptr;  // like weights
  void* workspace = nullptr;
};

namespace cpu {
// How many doubles `workspace` must hold.
template <typename A>
int64_t delta_loss_workspace(const DeltaLossParams<A>& params);
template <typename A>
void delta_loss(const DeltaLossParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
int delta_loss(const DeltaLossParams<float>& params, const CudaTarget& target);
// How many floats `workspace` must hold.
int64_t delta_loss_workspace(const DeltaLossParams<float>& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
