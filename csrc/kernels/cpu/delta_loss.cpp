// CPU kernels of a training step of E and D; compiled once per instruction set (see dispatch.h).
//
// Five stages, each over independent units: prepare (a slot), embed (a slot and pair of
// identities), pairs (in delta_pairs.cpp), collect (a slot) and weights (a slot and a block of the
// latent's components). Units and the order of every sum follow from the shape alone.

#include "kernels/cpu/delta_step.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

// out[r] = x[r] + scale * noise for `rows` rows of `count` components.
template <typename A>
void add_noise(const A* __restrict__ x, int64_t ldx, const float* __restrict__ noise, A scale,
               int64_t rows, int64_t count, A* __restrict__ out) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < count; ++c) {
      out[r * count + c] = x[r * ldx + c] + scale * static_cast<A>(noise[c]);
    }
  }
}

// Sum over ordered frame pairs of |x_j - x_i|^2, from the frames' deviations from their mean.
template <typename A>
double spread_of(const A* x, int64_t frames, int64_t inputs) {
  constexpr int64_t kBlock = 64;
  double total = 0;
  for (int64_t c0 = 0; c0 < inputs; c0 += kBlock) {
    const int64_t count = inputs - c0 < kBlock ? inputs - c0 : kBlock;
    A mean[kBlock] = {}, square[kBlock] = {};
    for (int64_t k = 0; k < frames; ++k) {
      for (int64_t c = 0; c < count; ++c) mean[c] += x[k * inputs + c0 + c];
    }
    for (int64_t c = 0; c < count; ++c) mean[c] /= static_cast<A>(frames);
    for (int64_t k = 0; k < frames; ++k) {
      for (int64_t c = 0; c < count; ++c) {
        const A d = x[k * inputs + c0 + c] - mean[c];
        square[c] += d * d;
      }
    }
    for (int64_t c = 0; c < count; ++c) total += static_cast<double>(square[c]);
  }
  return 2.0 * static_cast<double>(frames) * total;
}

}  // namespace

// Stage 1; a unit is a slot.
template <typename A>
void delta_prepare(const DeltaLossParams<A>& p, int64_t begin, int64_t end) {
  const Step<A> t(p);
  const int64_t width = t.s.width, inputs = t.s.inputs, dim = t.s.dim;
  for (int64_t slot = begin; slot < end; ++slot) {
    const SlotWorkspace<A> fixed = slot_workspace(t.space, t.s, slot);
    const A* output = t.weight(t.at.decoder_output_weight, slot, width * inputs);
    const A* bias = t.weight(t.at.decoder_output_bias, slot, inputs);
    transpose(width, inputs, output, fixed.output);
    multiply<false>(width, width, inputs, Left<A>{output, inputs, 1}, fixed.output, width,
                    fixed.squares, width);
    multiply<false>(1, width, inputs, Left<A>{bias, inputs, 1}, fixed.output, width, fixed.bias,
                    width);
    double square = 0;
    for (int64_t c = 0; c < inputs; ++c) square += static_cast<double>(bias[c]) * bias[c];
    *fixed.bias_square = static_cast<A>(square);
    transpose(dim, width, t.weight(t.at.code_weight, slot, dim * width), fixed.code);
    transpose(width, dim, t.weight(t.at.encoder_output_weight, slot, width * dim),
              fixed.encoder_output);
    for (int64_t k = 0; k + 1 < t.s.layers; ++k) {
      const int64_t matrix = width * width;
      transpose(width, width, t.weight(t.hidden(t.at.encoder_hidden, k), slot, matrix),
                fixed.encoder_hidden + k * matrix);
      transpose(width, width, t.weight(t.hidden(t.at.decoder_hidden, k), slot, matrix),
                fixed.decoder_hidden + k * matrix);
    }
  }
}

// Stage 2; a unit is a slot and a pair of identities.
template <typename A>
void delta_embed(const DeltaLossParams<A>& p, int64_t begin, int64_t end) {
  const Step<A> t(p);
  const int64_t width = t.s.width, inputs = t.s.inputs, frames = p.frames;
  Scratch<A> scratch(frames * inputs);
  Scratch<float> noise_scratch(inputs);
  A* rows = scratch.take(frames * inputs);
  float* noise = noise_scratch.take(inputs);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t slot = unit / p.pairs, pair = unit % p.pairs;
    const SlotWorkspace<A> fixed = slot_workspace(t.space, t.s, slot);
    const A* a = t.frames_of(slot, p.first[pair]);
    const A* b = t.frames_of(slot, p.second[pair]);
    const auto product = [&](const A* left, const A* weight, const A* bias, int table) {
      A* to = t.table(table, slot, pair);
      if (bias) {
        fill_rows(to, frames, bias, width);
        multiply<true>(frames, width, inputs, Left<A>{left, inputs, 1}, weight, width, to, width);
      } else {
        multiply<false>(frames, width, inputs, Left<A>{left, inputs, 1}, weight, width, to, width);
      }
    };
    const int64_t matrix = inputs * width;
    fill_normals(t.noise(pair, kEncoderStream), slot * inputs, inputs, noise);
    add_noise(a, inputs, noise, p.noise_encoder, frames, inputs, rows);
    product(rows, t.weight(t.at.source_weight, slot, matrix),
            t.weight(t.at.source_bias, slot, width), kSource);
    product(rows, t.weight(t.at.target_weight, slot, matrix), nullptr, kTarget);
    const A* latent = t.weight(t.at.latent_weight, slot, matrix);
    const A* latent_bias = t.weight(t.at.latent_bias, slot, width);
    fill_normals(t.noise(pair, kDecoderStream), slot * inputs, inputs, noise);
    add_noise(a, inputs, noise, p.noise_decoder, frames, inputs, rows);
    product(rows, latent, latent_bias, kLatentA);
    add_noise(b, inputs, noise, p.noise_decoder, frames, inputs, rows);
    product(rows, latent, latent_bias, kLatentB);
    product(a, fixed.output, nullptr, kTargetA);
    product(b, fixed.output, nullptr, kTargetB);
    double* spread = t.space.spreads + unit * 2;
    spread[0] = spread_of(a, frames, inputs);
    spread[1] = spread_of(b, frames, inputs);
  }
}

// Stage 4; a unit is a slot. Adds up the runs and writes the gradients of all small weights; the
// sums that stage 5 reads end in the slot's first run.
template <typename A>
void delta_collect(const DeltaLossParams<A>& p, int64_t begin, int64_t end) {
  const Step<A> t(p);
  const int64_t runs = delta_runs(p.pairs), width = t.s.width, dim = t.s.dim;
  for (int64_t slot = begin; slot < end; ++slot) {
    A* total = t.space.sums + slot * runs * t.sums.count;
    for (int64_t run = 1; run < runs; ++run) {
      const A* __restrict__ sums = total + run * t.sums.count;
      A* __restrict__ to = total;
      for (int64_t i = 0; i < t.sums.count; ++i) to[i] += sums[i];
    }
    const auto write = [&](int64_t offset, int64_t sums, int64_t size) {
      std::memcpy(t.gradient(offset, slot, size), total + sums, sizeof(A) * size);
    };
    write(t.at.encoder_output_weight, t.sums.encoder_output, width * dim);
    write(t.at.encoder_output_bias, t.sums.encoder_output + width * dim, dim);
    write(t.at.code_weight, t.sums.code_weight, dim * width);
    write(t.at.source_bias, t.sums.source_bias, width);
    write(t.at.latent_bias, t.sums.latent_bias, width);
    const int64_t matrix = width * width, layer = matrix + width;
    for (int64_t k = 0; k + 1 < t.s.layers; ++k) {
      const int64_t encoder = t.sums.hidden + k * layer;
      const int64_t decoder = t.sums.hidden + (t.s.layers - 1 + k) * layer;
      const int64_t encoder_at = t.hidden(t.at.encoder_hidden, k);
      const int64_t decoder_at = t.hidden(t.at.decoder_hidden, k);
      write(encoder_at, encoder, matrix);
      write(encoder_at + t.s.slots * matrix, encoder + matrix, width);
      write(decoder_at, decoder, matrix);
      write(decoder_at + t.s.slots * matrix, decoder + matrix, width);
    }
  }
}

// Stage 5; a unit is a slot and a block of kInputBlock components: the gradients of the four large
// weights.
template <typename A>
void delta_weights(const DeltaLossParams<A>& p, int64_t begin, int64_t end) {
  const Step<A> t(p);
  constexpr int64_t kRun = 8;  // pairs of identities whose noisy frames are at hand together
  const int64_t width = t.s.width, inputs = t.s.inputs, frames = p.frames;
  const int64_t blocks = (inputs + kInputBlock - 1) / kInputBlock;
  Scratch<A> scratch(kRun * frames * kInputBlock);
  A* rows = scratch.take(kRun * frames * kInputBlock);
  alignas(64) float noise[kInputBlock];
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t slot = unit / blocks, c0 = unit % blocks * kInputBlock;
    const int64_t count = inputs - c0 < kInputBlock ? inputs - c0 : kInputBlock;
    const auto grad_input = [&](int64_t offset) {
      return t.gradient(offset, slot, inputs * width) + c0 * width;
    };
    A* source = grad_input(t.at.source_weight);
    A* target = grad_input(t.at.target_weight);
    A* latent = grad_input(t.at.latent_weight);
    A* output = t.gradient(t.at.decoder_output_weight, slot, width * inputs) + c0;
    A* output_bias = t.gradient(t.at.decoder_output_bias, slot, inputs) + c0;
    std::memset(source, 0, sizeof(A) * count * width);
    std::memset(target, 0, sizeof(A) * count * width);
    std::memset(latent, 0, sizeof(A) * count * width);

    // W's gradient: (F^T F) W + (sum of F)^T bias less the targets' part.
    const A* total = t.space.sums + slot * delta_runs(p.pairs) * t.sums.count;
    const A* features = total + t.sums.features;
    const A* weight = t.weight(t.at.decoder_output_weight, slot, width * inputs) + c0;
    const A* bias = t.weight(t.at.decoder_output_bias, slot, inputs) + c0;
    multiply<false>(width, count, width, Left<A>{total + t.sums.squares, width, 1}, weight, inputs,
                    output, inputs);
    for (int64_t h = 0; h < width; ++h) {
      for (int64_t c = 0; c < count; ++c) output[h * inputs + c] += features[h] * bias[c];
    }
    multiply<false>(1, count, width, Left<A>{features, width, 1}, weight, inputs, output_bias,
                    inputs);
    const A errors =
        (t.scale(p.lambda_a) + t.scale(p.lambda_b)) * static_cast<A>(p.pairs * t.frame_pairs);
    for (int64_t c = 0; c < count; ++c) output_bias[c] += errors * bias[c];

    for (int64_t first = 0; first < p.pairs; first += kRun) {
      const int64_t run = p.pairs - first < kRun ? p.pairs - first : kRun;
      // The run's frames, as `side` names the identities, into `rows`, with noise or without.
      const auto gather = [&](const int64_t* side, int stream, A scale) {
        for (int64_t k = 0; k < run; ++k) {
          if (stream < 0) {
            std::memset(noise, 0, sizeof(noise));
          } else {
            fill_normals(t.noise(first + k, stream), slot * inputs + c0, count, noise);
          }
          add_noise(t.frames_of(slot, side[first + k]) + c0, inputs, noise, scale, frames, count,
                    rows + k * frames * count);
        }
      };
      const auto add_product = [&](int table, A* to) {
        multiply<true>(count, width, run * frames, Left<A>{rows, 1, count},
                       t.table(table, slot, first), width, to, width);
      };
      const auto add_targets = [&](int table) {
        multiply<true>(width, count, run * frames, Left<A>{t.table(table, slot, first), 1, width},
                       rows, count, output, inputs);
      };
      gather(p.first, kEncoderStream, p.noise_encoder);
      add_product(kSource, source);
      add_product(kTarget, target);
      gather(p.first, kDecoderStream, p.noise_decoder);
      add_product(kLatentA, latent);
      gather(p.second, kDecoderStream, p.noise_decoder);
      add_product(kLatentB, latent);
      gather(p.first, -1, A(0));
      add_targets(kTargetA);
      gather(p.second, -1, A(0));
      add_targets(kTargetB);
    }
  }
}

DELTAFAST_FLOAT_AND_DOUBLE(delta_prepare, DeltaLossParams)
DELTAFAST_FLOAT_AND_DOUBLE(delta_embed, DeltaLossParams)
DELTAFAST_FLOAT_AND_DOUBLE(delta_collect, DeltaLossParams)
DELTAFAST_FLOAT_AND_DOUBLE(delta_weights, DeltaLossParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
