// The steps of the edit as a flow, and their gradient. Free of torch.
//
// In the coordinates z along the rows of the last weight W a path obeys
//   dz/dt = h(start + z M) * code,  z(0) = 0
// with h's first layer w A + b, `start` that layer where the path begins, and M = W A. So all steps
// are products of [rows, width] and [width, width], and latents are read and written once.
#pragma once

#include <cstdint>

#include "kernels/shared/flow.h"
#include "kernels/target.h"

namespace deltafast {

// Parts of the samples that the gradient sums by themselves.
constexpr int64_t kFlowRuns = 32;

// h's layers: the first is start + z mixing[0], layer k > 0 is bias[k - 1] + (layer k - 1)
// mixing[k], each followed by the activation.
template <typename A>
struct DeltaFlowParams {
  int64_t slots = 0;
  int64_t samples = 0;
  int64_t width = 0;
  int64_t layers = 0;
  int64_t steps = 0;              // per unit of alpha
  const A* start = nullptr;       // [slots, samples, width]
  const A* alpha = nullptr;       // [samples]
  const A* direction = nullptr;   // [slots, samples or 1, width]
  bool one_direction = false;     // whether all samples share it
  const A* mixing = nullptr;      // [layers, slots, width, width]
  const A* transposed = nullptr;  // each of them transposed; backward only
  const A* bias = nullptr;        // [layers - 1, slots, width]
  A* result = nullptr;            // [slots, samples, width]
  const A* grad = nullptr;        // like result
  A* grad_start = nullptr;        // like start
  A* grad_direction = nullptr;    // [slots, samples, width]
  A* grad_alpha = nullptr;        // [slots, samples]
  A* sums = nullptr;              // [kFlowRuns, slots, flow_sums]: gradients of mixing, bias
};

// The whole edit in one pass over the latents, w + z W in the slots that are moved, on CPUs: `flow`
// without start and result.
template <typename A>
struct DeltaFlowEditParams {
  DeltaFlowParams<A> flow;
  int64_t num_ws = 0;
  int64_t inputs = 0;
  const A* ws = nullptr;             // [samples, num_ws, inputs]
  A* y = nullptr;                    // like ws
  const int64_t* index = nullptr;    // [slots]: which W+ slot each is; outside 0 .. num_ws: skipped
  const A* latent_weight = nullptr;  // [slots, inputs, width]
  const A* latent_bias = nullptr;    // [slots, width]
  const A* output_weight = nullptr;  // [slots, width, inputs]
};

// Elements of the gradients of mixing and bias of one slot.
template <typename A>
DELTAFAST_HD int64_t flow_sums(const DeltaFlowParams<A>& p) {
  return p.width * (p.width * p.layers + p.layers - 1);
}

namespace cpu {
constexpr int64_t kFlowRows = 32;  // paths that one unit of work owns
template <typename A>
void delta_flow(const DeltaFlowParams<A>& params, ParallelFor parallel_for);
template <typename A>
void delta_flow_backward(const DeltaFlowParams<A>& params, ParallelFor parallel_for);
template <typename A>
void delta_flow_edit(const DeltaFlowEditParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
int delta_flow(const DeltaFlowParams<float>& params, const CudaTarget& target);
int delta_flow_backward(const DeltaFlowParams<float>& params, const CudaTarget& target);
// Whether a band of paths fits the shared memory of a block.
bool delta_flow_fits(const DeltaFlowParams<float>& params, bool backward, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
