// How the weights of E and D lie in one flat tensor, and how a training step lays out its
// workspace; deltafast/ops/delta_weights.py is the twin of `delta_layout`.
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

// Where each weight begins. All are slot-major and dense; a weight is [slots, inputs, outputs], a
// bias [slots, outputs]. Hidden layer k (of layers - 1) is a weight and its bias, one after the
// other, k * hidden_size(sizes) behind the first.
struct DeltaLayout {
  int64_t source_weight;
  int64_t source_bias;
  int64_t target_weight;
  int64_t encoder_hidden;
  int64_t encoder_output_weight;
  int64_t encoder_output_bias;
  int64_t latent_weight;
  int64_t latent_bias;
  int64_t code_weight;
  int64_t decoder_hidden;
  int64_t decoder_output_weight;
  int64_t decoder_output_bias;
  int64_t count;
};

DELTAFAST_HD int64_t hidden_size(const DeltaSizes& s) {
  return s.slots * (s.width * s.width + s.width);
}

DELTAFAST_HD DeltaLayout delta_layout(const DeltaSizes& s) {
  DeltaLayout at{};
  at.source_weight = 0;
  at.source_bias = at.source_weight + s.slots * s.inputs * s.width;
  at.target_weight = at.source_bias + s.slots * s.width;
  at.encoder_hidden = at.target_weight + s.slots * s.inputs * s.width;
  at.encoder_output_weight = at.encoder_hidden + (s.layers - 1) * hidden_size(s);
  at.encoder_output_bias = at.encoder_output_weight + s.slots * s.width * s.dim;
  at.latent_weight = at.encoder_output_bias + s.slots * s.dim;
  at.latent_bias = at.latent_weight + s.slots * s.inputs * s.width;
  at.code_weight = at.latent_bias + s.slots * s.width;
  at.decoder_hidden = at.code_weight + s.slots * s.dim * s.width;
  at.decoder_output_weight = at.decoder_hidden + (s.layers - 1) * hidden_size(s);
  at.decoder_output_bias = at.decoder_output_weight + s.slots * s.width * s.inputs;
  at.count = at.decoder_output_bias + s.slots * s.inputs;
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
