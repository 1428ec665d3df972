// How the weights of E and D lie in one flat tensor (the one place that says it: Python asks for
// this list through _C), and how a training step lays out its workspace.
#pragma once

#include <cstdint>

#include "kernels/shared/macros.h"

namespace deltafast {

constexpr double kDeltaSlope = 0.2;  // of the leaky ReLU in E and D

struct DeltaSizes {
  int64_t slots;
  int64_t inputs;  // components of a latent
  int64_t width;
  int64_t layers;  // hidden layers of E and of D, at least 1
  int64_t dim;     // components of the code
};

// All weights in their order. ONE(field of DeltaLayout, name of an editor's parameter, rows,
// columns): slot-major and dense, [slots, inputs, outputs]; a bias has one row. HIDDEN(field,
// network): the hidden layers k of layers - 1, "network.hidden.k.weight" [slots, width, width] and
// "network.hidden.k.bias" one after the other, k * hidden_size(sizes) behind the first.
#define DELTAFAST_DELTA_WEIGHTS(ONE, HIDDEN)                             \
  ONE(source_weight, "encoder.source.weight", s.inputs, s.width)         \
  ONE(source_bias, "encoder.source.bias", 1, s.width)                    \
  ONE(target_weight, "encoder.target.weight", s.inputs, s.width)         \
  HIDDEN(encoder_hidden, "encoder")                                      \
  ONE(encoder_output_weight, "encoder.output.weight", s.width, s.dim)    \
  ONE(encoder_output_bias, "encoder.output.bias", 1, s.dim)              \
  ONE(latent_weight, "decoder.latent.weight", s.inputs, s.width)         \
  ONE(latent_bias, "decoder.latent.bias", 1, s.width)                    \
  ONE(code_weight, "decoder.code.weight", s.dim, s.width)                \
  HIDDEN(decoder_hidden, "decoder")                                      \
  ONE(decoder_output_weight, "decoder.output.weight", s.width, s.inputs) \
  ONE(decoder_output_bias, "decoder.output.bias", 1, s.inputs)

// Where each weight begins, and how many elements there are.
struct DeltaLayout {
#define DELTAFAST_FIELD(field, ...) int64_t field;
  DELTAFAST_DELTA_WEIGHTS(DELTAFAST_FIELD, DELTAFAST_FIELD)
#undef DELTAFAST_FIELD
  int64_t count;
};

DELTAFAST_HD int64_t hidden_size(const DeltaSizes& s) {
  return s.slots * (s.width * s.width + s.width);
}

DELTAFAST_HD DeltaLayout delta_layout(const DeltaSizes& s) {
  DeltaLayout at{};
  int64_t next = 0;
#define DELTAFAST_ONE(field, name, rows, columns) \
  at.field = next;                                \
  next += s.slots * (rows) * (columns);
#define DELTAFAST_HIDDEN(field, network) \
  at.field = next;                       \
  next += (s.layers - 1) * hidden_size(s);
  DELTAFAST_DELTA_WEIGHTS(DELTAFAST_ONE, DELTAFAST_HIDDEN)
#undef DELTAFAST_ONE
#undef DELTAFAST_HIDDEN
  at.count = next;
  return at;
}

// What a slot sums over all frame pairs; the hidden layers come first E's, then D's, each as a
// weight and a bias.
struct PairSums {
  int64_t squares;         // [width, width]: scaled F^T F of a and b
  int64_t features;        // [width]: scaled sum of F
  int64_t encoder_output;  // [width, dim] and [dim]
  int64_t code_weight;     // [dim, width]
  int64_t source_bias;     // [width]
  int64_t latent_bias;     // [width]
  int64_t hidden;          // 2 (layers - 1) times [width, width] and [width]
  int64_t count;
};

DELTAFAST_HD PairSums pair_sums(const DeltaSizes& s) {
  PairSums at{};
  at.squares = 0;
  at.features = at.squares + s.width * s.width;
  at.encoder_output = at.features + s.width;
  at.code_weight = at.encoder_output + s.width * s.dim + s.dim;
  at.source_bias = at.code_weight + s.dim * s.width;
  at.latent_bias = at.source_bias + s.width;
  at.hidden = at.latent_bias + s.width;
  at.count = at.hidden + 2 * (s.layers - 1) * (s.width * s.width + s.width);
  return at;
}

// What the step keeps of a frame; each is a table [slots, pairs, frames, width]. The forward value
// comes first, and the gradient for it takes its place.
enum FrameTable : int {
  kSource = 0,   // (a + n_a) W_source + bias
  kTarget = 1,   // (a + n_a) W_target
  kLatentA = 2,  // (a + n_b) W_latent + bias
  kLatentB = 3,  // (b + n_b) W_latent + bias
  kTargetA =
      4,  // a W_output^T; then the scaled sum of F over pairs from this frame less pairs to it
  kTargetB = 5,  // b W_output^T; likewise
  kFrameTables = 6
};

// Frame pairs are numbered i * (frames - 1) + (j, less one where j > i).
template <typename I>
struct FramePair {
  I i;
  I j;
};

template <typename I>
DELTAFAST_HD FramePair<I> frame_pair(I row, I frames) {
  const I i = row / (frames - 1);
  const I j = row % (frames - 1);
  return {i, j < i ? j : j + 1};
}

}  // namespace deltafast
