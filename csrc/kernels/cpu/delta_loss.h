// The workspace of a training step of E and D on the CPU, and how the work is cut.
#pragma once

#include <cstdint>

#include "kernels/delta_loss.h"

namespace deltafast::cpu {

constexpr int64_t kPairsPerRun = 4;  // pairs of identities that one unit sums over
constexpr int64_t kInputBlock = 64;  // components of a latent that one unit of stage 5 owns
constexpr int64_t kDeltaAlign = 16;  // every part of the workspace begins at a multiple of it

DELTAFAST_HD int64_t delta_runs(int64_t pairs) { return (pairs + kPairsPerRun - 1) / kPairsPerRun; }

DELTAFAST_HD int64_t delta_aligned(int64_t count) {
  return (count + kDeltaAlign - 1) / kDeltaAlign * kDeltaAlign;
}

// What a slot's units share, computed once from its weights.
template <typename A>
struct SlotWorkspace {
  A* output;          // [inputs, width]: W_output^T
  A* squares;         // [width, width]: W_output W_output^T
  A* bias;            // [width]: W_output bias
  A* bias_square;     // []: |bias|^2
  A* code;            // [width, dim]: W_code^T
  A* encoder_output;  // [dim, width]: E's W_output^T
  A* encoder_hidden;  // [layers - 1, width, width], each transposed
  A* decoder_hidden;  // likewise
};

template <typename A>
struct StepWorkspace {
  double* losses;   // [slots, runs]
  double* spreads;  // [slots, pairs, 2]: sum over frame pairs of |a_j - a_i|^2, and b's
  A* tables;        // [kFrameTables, slots, pairs, frames, width]
  A* sums;          // [slots, runs, PairSums]
  A* fixed;         // [slots, slot_workspace_size]
  int64_t doubles;  // size in all, in doubles
};

DELTAFAST_HD int64_t slot_workspace_size(const DeltaSizes& s) {
  return delta_aligned(s.inputs * s.width) + delta_aligned(s.width * s.width) +
         delta_aligned(s.width) + delta_aligned(1) + delta_aligned(s.width * s.dim) * 2 +
         delta_aligned((s.layers - 1) * s.width * s.width) * 2;
}

template <typename A>
DELTAFAST_HD SlotWorkspace<A> slot_workspace(const StepWorkspace<A>& space, const DeltaSizes& s,
                                             int64_t slot) {
  SlotWorkspace<A> result{};
  A* at = space.fixed + slot * slot_workspace_size(s);
  result.output = at;
  at += delta_aligned(s.inputs * s.width);
  result.squares = at;
  at += delta_aligned(s.width * s.width);
  result.bias = at;
  at += delta_aligned(s.width);
  result.bias_square = at;
  at += delta_aligned(1);
  result.code = at;
  at += delta_aligned(s.width * s.dim);
  result.encoder_output = at;
  at += delta_aligned(s.width * s.dim);
  result.encoder_hidden = at;
  at += delta_aligned((s.layers - 1) * s.width * s.width);
  result.decoder_hidden = at;
  return result;
}

template <typename A>
DELTAFAST_HD StepWorkspace<A> step_workspace(const DeltaLossParams<A>& p) {
  const DeltaSizes& s = p.sizes;
  StepWorkspace<A> result{};
  const int64_t losses = delta_aligned(s.slots * delta_runs(p.pairs));
  const int64_t spreads = delta_aligned(s.slots * p.pairs * 2);
  const int64_t tables = delta_aligned(kFrameTables * s.slots * p.pairs * p.frames * s.width);
  const int64_t sums = delta_aligned(s.slots * delta_runs(p.pairs) * pair_sums(s).count);
  const int64_t values = tables + sums + s.slots * slot_workspace_size(s);
  result.doubles = losses + spreads + values * static_cast<int64_t>(sizeof(A)) / 8 + 1;
  if (p.workspace == nullptr) return result;
  result.losses = static_cast<double*>(p.workspace);
  result.spreads = result.losses + losses;
  result.tables = reinterpret_cast<A*>(result.spreads + spreads);
  result.sums = result.tables + tables;
  result.fixed = result.sums + sums;
  return result;
}

}  // namespace deltafast::cpu
