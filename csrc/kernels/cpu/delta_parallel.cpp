// Entry points of the CPU kernels of noise, E and D: they cut the work into units and hand them to
// the caller's threads, stage after stage.

#include "kernels/cpu/delta_loss.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/run_units.h"

namespace deltafast::cpu {

void philox4x32(const PhiloxParams& p, ParallelFor parallel_for) {
  run_units(kernels().philox4x32_words, p, p.count, 1024, parallel_for);
}

void philox_normal(const NormalParams& p, ParallelFor parallel_for) {
  run_units(kernels().philox_normal, p, p.samples, 4096 / (p.elements + 1), parallel_for);
}

template <typename A>
int64_t delta_loss_workspace(const DeltaLossParams<A>& p) {
  return step_workspace(p).doubles;
}

template <typename A>
void delta_loss(const DeltaLossParams<A>& p, ParallelFor parallel_for) {
  const DeltaSizes& s = p.sizes;
  const int64_t runs = delta_runs(p.pairs);
  run_units(kernels().delta_prepare, p, s.slots, 1, parallel_for);
  run_units(kernels().delta_embed, p, s.slots * p.pairs, 1, parallel_for);
  run_units(kernels().delta_pairs, p, s.slots * runs, 1, parallel_for);
  run_units(kernels().delta_collect, p, s.slots, 1, parallel_for);
  run_units(kernels().delta_weights, p, s.slots * ((s.inputs + kInputBlock - 1) / kInputBlock), 1,
            parallel_for);
  const StepWorkspace<A> space = step_workspace(p);
  double total = 0;
  for (int64_t unit = 0; unit < s.slots * runs; ++unit) total += space.losses[unit];
  const double rows = static_cast<double>(p.pairs) * static_cast<double>(p.frames * (p.frames - 1));
  *p.loss = static_cast<A>(total / (rows * static_cast<double>(s.slots * s.inputs)));
}

template <typename A>
void delta_edit(const DeltaEditParams<A>& p, ParallelFor parallel_for) {
  run_units(kernels().delta_edit, p, (p.samples + kEditRows - 1) / kEditRows, 1, parallel_for);
}

template <typename A>
void delta_flow(const DeltaFlowParams<A>& p, ParallelFor parallel_for) {
  const int64_t bands = (p.samples + kFlowRows - 1) / kFlowRows;
  run_units(kernels().delta_flow, p, p.slots * bands, 1, parallel_for);
}

template <typename A>
void delta_flow_backward(const DeltaFlowParams<A>& p, ParallelFor parallel_for) {
  run_units(kernels().delta_flow_backward, p, p.slots * kFlowRuns, 1, parallel_for);
}

template <typename A>
void delta_flow_edit(const DeltaFlowEditParams<A>& p, ParallelFor parallel_for) {
  const int64_t bands = (p.flow.samples + kFlowRows - 1) / kFlowRows;
  run_units(kernels().delta_flow_edit, p, bands, 1, parallel_for);
}

template int64_t delta_loss_workspace<float>(const DeltaLossParams<float>&);
template int64_t delta_loss_workspace<double>(const DeltaLossParams<double>&);
DELTAFAST_ENTRY(delta_loss, DeltaLossParams)
DELTAFAST_ENTRY(delta_edit, DeltaEditParams)
DELTAFAST_ENTRY(delta_flow, DeltaFlowParams)
DELTAFAST_ENTRY(delta_flow_backward, DeltaFlowParams)
DELTAFAST_ENTRY(delta_flow_edit, DeltaFlowEditParams)

}  // namespace deltafast::cpu
