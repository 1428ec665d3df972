// The third stage of a training step of E and D on the CPU: all frame pairs of a pair of
// identities, forward and backward, in a scratch buffer that stays in cache. Compiled once per
// instruction set (see dispatch.h).

#include "kernels/cpu/delta_step.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

template <typename A>
void leaky_relu(A* v, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    v[i] = v[i] > A(0) ? v[i] : v[i] * static_cast<A>(kDeltaSlope);
}

// grad *= slope of the leaky ReLU whose result was `y`; a positive slope keeps the sign.
template <typename A>
void leaky_relu_backward(A* __restrict__ grad, const A* __restrict__ y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) grad[i] *= y[i] > A(0) ? A(1) : static_cast<A>(kDeltaSlope);
}

template <typename A>
void add_rows(A* __restrict__ sum, const A* __restrict__ rows, int64_t count, int64_t width) {
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t h = 0; h < width; ++h) sum[h] += rows[r * width + h];
  }
}

// A stack of layers, forward: `x` [rows, width] holds the first layer's sums on entry; `kept` gets
// the activations of every layer.
template <typename A>
void run_hidden(const Step<A>& t, int64_t first, int64_t slot, int64_t rows, A* kept) {
  const int64_t width = t.s.width;
  leaky_relu(kept, rows * width);
  for (int64_t k = 0; k + 1 < t.s.layers; ++k) {
    const A* weight = t.weight(t.hidden(first, k), slot, width * width);
    const A* bias = t.weight(t.hidden(first, k) + t.s.slots * width * width, slot, width);
    A* next = kept + (k + 1) * rows * width;
    fill_rows(next, rows, bias, width);
    multiply<true>(rows, width, width, Left<A>{kept + k * rows * width, width, 1}, weight, width,
                   next, width);
    leaky_relu(next, rows * width);
  }
}

// The same backward: `grad` [rows, width] is the gradient for the last activation on entry and for
// the first layer's sums on return. `spare` is as large as grad; `sums` are the layers' gradients.
template <typename A>
A* run_hidden_backward(const Step<A>& t, const A* transposed, int64_t rows, const A* kept, A* grad,
                       A* spare, A* sums) {
  const int64_t width = t.s.width;
  const int64_t layer = width * width + width;
  for (int64_t k = t.s.layers - 1; k > 0; --k) {
    leaky_relu_backward(grad, kept + k * rows * width, rows * width);
    const A* below = kept + (k - 1) * rows * width;
    A* into = sums + (k - 1) * layer;
    multiply<true>(width, width, rows, Left<A>{below, 1, width}, grad, width, into, width);
    add_rows(into + width * width, grad, rows, width);
    multiply<false>(rows, width, width, Left<A>{grad, width, 1},
                    transposed + (k - 1) * width * width, width, spare, width);
    A* old = grad;
    grad = spare;
    spare = old;
  }
  leaky_relu_backward(grad, kept, rows * width);
  return grad;
}

// What a run of pairs needs beside the tables.
template <typename A>
struct PairScratch {
  A* encoder;   // [layers, rows, width]
  A* decoder;   // [layers, rows, width]
  A* code;      // [rows, dim]
  A* embedded;  // [rows, width]: code W_code; then its gradient
  A* grad;      // [rows, width]
  A* spare;     // [rows, width]
  A* frames;    // [3, frames, width]: gradients for the frames' tables

  static int64_t size(const Step<A>& t) {
    return t.frame_pairs * (t.s.width * (2 * t.s.layers + 3) + t.s.dim) +
           3 * t.p.frames * t.s.width;
  }
  PairScratch(const Step<A>& t, Scratch<A>& scratch) {
    const int64_t wide = t.frame_pairs * t.s.width;
    encoder = scratch.take(t.s.layers * wide);
    decoder = scratch.take(t.s.layers * wide);
    code = scratch.take(t.frame_pairs * t.s.dim);
    embedded = scratch.take(wide);
    grad = scratch.take(wide);
    spare = scratch.take(wide);
    frames = scratch.take(3 * t.p.frames * t.s.width);
  }
};

// D on one of the two identities, forward and backward; returns the sum over frame pairs of
// |F W + v - t|^2 - |t|^2, and adds the gradient for code W_code to `grad_embedded`.
template <typename A>
double run_decoder(const Step<A>& t, const PairScratch<A>& u, int64_t slot, int64_t pair,
                   int latent_table, int target_table, A scale, A* grad_embedded, A* sums) {
  const int64_t rows = t.frame_pairs, width = t.s.width, frames = t.p.frames;
  const SlotWorkspace<A> fixed = slot_workspace(t.space, t.s, slot);
  A* latent = t.table(latent_table, slot, pair);
  A* target = t.table(target_table, slot, pair);
  for (int64_t r = 0; r < rows; ++r) {
    const A* __restrict__ l = latent + frame_pair(r, frames).i * width;
    const A* __restrict__ e = u.embedded + r * width;
    A* __restrict__ to = u.decoder + r * width;
    for (int64_t h = 0; h < width; ++h) to[h] = l[h] + e[h];
  }
  run_hidden(t, t.at.decoder_hidden, slot, rows, u.decoder);
  const A* features = u.decoder + (t.s.layers - 1) * rows * width;
  multiply<false>(rows, width, width, Left<A>{features, width, 1}, fixed.squares, width, u.grad,
                  width);
  double total = rows * static_cast<double>(*fixed.bias_square);
  for (int64_t r = 0; r < rows; ++r) {
    const FramePair<int64_t> pair_of = frame_pair(r, frames);
    const A* __restrict__ f = features + r * width;
    const A* __restrict__ from = target + pair_of.i * width;
    const A* __restrict__ to = target + pair_of.j * width;
    A* __restrict__ grad = u.grad + r * width;
    A sum = 0;
    for (int64_t h = 0; h < width; ++h) {
      const A constant = fixed.bias[h] - (to[h] - from[h]);
      sum += f[h] * (grad[h] + A(2) * constant);
      grad[h] = scale * (grad[h] + constant);
    }
    total += static_cast<double>(sum);
  }
  // The sums of F: for W's gradient, with the targets', whose place in the table they take.
  A* collected = u.frames;
  std::memset(collected, 0, sizeof(A) * 2 * frames * width);
  A* reached = collected + frames * width;
  for (int64_t r = 0; r < rows; ++r) {
    const FramePair<int64_t> pair_of = frame_pair(r, frames);
    const A* __restrict__ f = features + r * width;
    A* __restrict__ from = collected + pair_of.i * width;
    A* __restrict__ to = reached + pair_of.j * width;
    for (int64_t h = 0; h < width; ++h) {
      from[h] += f[h];
      to[h] += f[h];
    }
  }
  A* feature_sum = sums + t.sums.features;
  for (int64_t k = 0; k < frames; ++k) {
    for (int64_t h = 0; h < width; ++h) {
      const A from = collected[k * width + h], to = reached[k * width + h];
      feature_sum[h] += scale * to;
      target[k * width + h] = scale * (from - to);
    }
  }
  for (int64_t r = 0; r < rows * width; ++r) u.spare[r] = scale * features[r];
  multiply<true>(width, width, rows, Left<A>{u.spare, 1, width}, features, width,
                 sums + t.sums.squares, width);
  const A* grad =
      run_hidden_backward(t, fixed.decoder_hidden, rows, u.decoder, u.grad, u.spare,
                          sums + t.sums.hidden + (t.s.layers - 1) * (width * width + width));
  std::memset(latent, 0, sizeof(A) * frames * width);
  for (int64_t r = 0; r < rows; ++r) {
    A* __restrict__ to = latent + frame_pair(r, frames).i * width;
    const A* __restrict__ from = grad + r * width;
    for (int64_t h = 0; h < width; ++h) to[h] += from[h];
  }
  for (int64_t i = 0; i < rows * width; ++i) grad_embedded[i] += grad[i];
  add_rows(sums + t.sums.latent_bias, latent, frames, width);
  return total;
}

// All frame pairs of one pair of identities in one slot; adds to `sums`, returns the loss before
// its scale.
template <typename A>
double run_pair(const Step<A>& t, const PairScratch<A>& u, A* grad_embedded, int64_t slot,
                int64_t pair, A* sums) {
  const int64_t rows = t.frame_pairs, width = t.s.width, dim = t.s.dim, frames = t.p.frames;
  const SlotWorkspace<A> fixed = slot_workspace(t.space, t.s, slot);
  A* source = t.table(kSource, slot, pair);
  A* target = t.table(kTarget, slot, pair);
  for (int64_t r = 0; r < rows; ++r) {
    const FramePair<int64_t> pair_of = frame_pair(r, frames);
    const A* __restrict__ from = source + pair_of.i * width;
    const A* __restrict__ to = target + pair_of.j * width;
    A* __restrict__ sum = u.encoder + r * width;
    for (int64_t h = 0; h < width; ++h) sum[h] = from[h] + to[h];
  }
  run_hidden(t, t.at.encoder_hidden, slot, rows, u.encoder);
  const A* last = u.encoder + (t.s.layers - 1) * rows * width;
  fill_rows(u.code, rows, t.weight(t.at.encoder_output_bias, slot, dim), dim);
  multiply<true>(rows, dim, width, Left<A>{last, width, 1},
                 t.weight(t.at.encoder_output_weight, slot, width * dim), dim, u.code, dim);
  multiply<false>(rows, width, dim, Left<A>{u.code, dim, 1},
                  t.weight(t.at.code_weight, slot, dim * width), width, u.embedded, width);

  std::memset(grad_embedded, 0, sizeof(A) * rows * width);
  const double* spread = t.space.spreads + (slot * t.p.pairs + pair) * 2;
  const double loss_a = spread[0] + run_decoder(t, u, slot, pair, kLatentA, kTargetA,
                                                t.scale(t.p.lambda_a), grad_embedded, sums);
  const double loss_b = spread[1] + run_decoder(t, u, slot, pair, kLatentB, kTargetB,
                                                t.scale(t.p.lambda_b), grad_embedded, sums);

  multiply<true>(dim, width, rows, Left<A>{u.code, 1, dim}, grad_embedded, width,
                 sums + t.sums.code_weight, width);
  A* grad_code = u.code;  // the code itself is not needed any more
  multiply<false>(rows, dim, width, Left<A>{grad_embedded, width, 1}, fixed.code, dim, grad_code,
                  dim);
  multiply<true>(width, dim, rows, Left<A>{last, 1, width}, grad_code, dim,
                 sums + t.sums.encoder_output, dim);
  add_rows(sums + t.sums.encoder_output + width * dim, grad_code, rows, dim);
  multiply<false>(rows, width, dim, Left<A>{grad_code, dim, 1}, fixed.encoder_output, width, u.grad,
                  width);
  const A* grad = run_hidden_backward(t, fixed.encoder_hidden, rows, u.encoder, u.grad, u.spare,
                                      sums + t.sums.hidden);
  std::memset(source, 0, sizeof(A) * frames * width);
  std::memset(target, 0, sizeof(A) * frames * width);
  for (int64_t r = 0; r < rows; ++r) {
    const FramePair<int64_t> pair_of = frame_pair(r, frames);
    const A* __restrict__ from = grad + r * width;
    A* __restrict__ to_source = source + pair_of.i * width;
    A* __restrict__ to_target = target + pair_of.j * width;
    for (int64_t h = 0; h < width; ++h) {
      to_source[h] += from[h];
      to_target[h] += from[h];
    }
  }
  add_rows(sums + t.sums.source_bias, source, frames, width);
  return static_cast<double>(t.p.lambda_a) * loss_a + static_cast<double>(t.p.lambda_b) * loss_b;
}

}  // namespace

// Stage 3; a unit is a slot and a run of pairs of identities.
template <typename A>
void delta_pairs(const DeltaLossParams<A>& p, int64_t begin, int64_t end) {
  const Step<A> t(p);
  const int64_t runs = delta_runs(p.pairs), wide = t.frame_pairs * t.s.width;
  Scratch<A> scratch(PairScratch<A>::size(t) + wide);
  const PairScratch<A> u(t, scratch);
  A* grad_embedded = scratch.take(wide);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t slot = unit / runs, run = unit % runs;
    A* sums = t.space.sums + unit * t.sums.count;
    std::memset(sums, 0, sizeof(A) * t.sums.count);
    double loss = 0;
    const int64_t last = (run + 1) * kPairsPerRun < p.pairs ? (run + 1) * kPairsPerRun : p.pairs;
    for (int64_t pair = run * kPairsPerRun; pair < last; ++pair) {
      loss += run_pair(t, u, grad_embedded, slot, pair, sums);
    }
    t.space.losses[unit] = loss;
  }
}

DELTAFAST_FLOAT_AND_DOUBLE(delta_pairs, DeltaLossParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
