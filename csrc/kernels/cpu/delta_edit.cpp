// CPU kernel of the edit; compiled once per instruction set (see dispatch.h).
//
// A unit is a band of kEditRows latents. Each of their slots is copied, or edited: normalised into
// a buffer in cache, taken through D's layers with and without the code, and the difference of the
// two last hidden layers, through the last weight, added to the latent.

#include "kernels/delta_edit.h"

#include <cstring>
#include <new>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/small_gemm.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

template <typename A>
void edit_layer(const DeltaEditParams<A>& p, int64_t layer, int64_t slot, int64_t rows,
                const A* below, A* above) {
  const int64_t width = p.sizes.width;
  const int64_t at = layer * p.sizes.slots + slot;
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(above + r * width, p.hidden_bias + at * width, sizeof(A) * width);
  }
  multiply<true>(rows, width, width, Left<A>{below, width, 1}, p.hidden_weight + at * width * width,
                 width, above, width);
}

template <typename A>
A activated(A v) {
  return v > A(0) ? v : v * static_cast<A>(kDeltaSlope);
}

template <typename A>
struct EditScratch {
  A* x;        // [rows, inputs]: normalised latents, then their change
  A* with[2];  // [rows, width] each: the hidden layers with the code
  A* without[2];
  A* base;  // its allocation

  explicit EditScratch(const DeltaSizes& s) {
    const int64_t wide = kEditRows * s.width;
    base = static_cast<A*>(
        ::operator new(sizeof(A) * (kEditRows * s.inputs + 4 * wide), std::align_val_t{64}));
    x = base;
    with[0] = x + kEditRows * s.inputs;
    with[1] = with[0] + wide;
    without[0] = with[1] + wide;
    without[1] = without[0] + wide;
  }
  ~EditScratch() { ::operator delete(base, std::align_val_t{64}); }
  EditScratch(const EditScratch&) = delete;
  EditScratch& operator=(const EditScratch&) = delete;
};

// Edits slot `slot` (W+ slot `at`) of `rows` latents from `first` on.
template <typename A>
void edit_slot(const DeltaEditParams<A>& p, const EditScratch<A>& u, int64_t first, int64_t rows,
               int64_t slot, int64_t at) {
  const int64_t inputs = p.sizes.inputs, width = p.sizes.width, slots = p.sizes.slots;
  const A* ws = static_cast<const A*>(p.ws) + (first * p.num_ws + at) * inputs;
  A* y = static_cast<A*>(p.y) + (first * p.num_ws + at) * inputs;
  const int64_t stride = p.num_ws * inputs;
  const A scale = *p.scale, inverse = A(1) / scale;
  const A* __restrict__ mean = p.mean + slot * inputs;
  for (int64_t r = 0; r < rows; ++r) {
    const A* __restrict__ from = ws + r * stride;
    A* __restrict__ to = u.x + r * inputs;
    for (int64_t c = 0; c < inputs; ++c) to[c] = (from[c] - mean[c]) * inverse;
  }
  A* with = u.with[0];
  A* without = u.without[0];
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(without + r * width, p.latent_bias + slot * width, sizeof(A) * width);
  }
  multiply<true>(rows, width, inputs, Left<A>{u.x, inputs, 1},
                 p.latent_weight + slot * inputs * width, width, without, width);
  for (int64_t r = 0; r < rows; ++r) {
    const A alpha = p.alpha[first + r];
    const A amount = alpha < A(0) ? -alpha : alpha;
    const A* __restrict__ direction = p.direction + (first + r) * p.direction_stride +
                                      ((alpha < A(0) ? slots : 0) + slot) * width;
    A* __restrict__ with_row = with + r * width;
    A* __restrict__ without_row = without + r * width;
    for (int64_t h = 0; h < width; ++h) {
      with_row[h] = activated(without_row[h] + amount * direction[h]);
      without_row[h] = activated(without_row[h]);
    }
  }
  for (int64_t k = 0; k + 1 < p.sizes.layers; ++k) {
    A* next = with == u.with[0] ? u.with[1] : u.with[0];
    edit_layer(p, k, slot, rows, with, next);
    for (int64_t i = 0; i < rows * width; ++i) next[i] = activated(next[i]);
    with = next;
    if (p.output_bias) continue;
    next = without == u.without[0] ? u.without[1] : u.without[0];
    edit_layer(p, k, slot, rows, without, next);
    for (int64_t i = 0; i < rows * width; ++i) next[i] = activated(next[i]);
    without = next;
  }
  // The last layer is linear, so the difference goes through it: exactly 0 at alpha = 0.
  if (!p.output_bias) {
    for (int64_t i = 0; i < rows * width; ++i) with[i] -= without[i];
  }
  multiply<false>(rows, inputs, width, Left<A>{with, width, 1},
                  p.output_weight + slot * width * inputs, inputs, u.x, inputs);
  for (int64_t r = 0; r < rows; ++r) {
    const A* __restrict__ from = ws + r * stride;
    const A* __restrict__ change = u.x + r * inputs;
    A* __restrict__ to = y + r * stride;
    if (p.output_bias) {
      const A* __restrict__ bias = p.output_bias + slot * inputs;
      for (int64_t c = 0; c < inputs; ++c) to[c] = from[c] + (change[c] + bias[c]) * scale;
    } else {
      for (int64_t c = 0; c < inputs; ++c) to[c] = from[c] + change[c] * scale;
    }
  }
}

}  // namespace

template <typename A>
void delta_edit(const DeltaEditParams<A>& p, int64_t begin, int64_t end) {
  const EditScratch<A> scratch(p.sizes);
  const int64_t inputs = p.sizes.inputs, stride = p.num_ws * inputs;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit * kEditRows;
    const int64_t rows = p.samples - first < kEditRows ? p.samples - first : kEditRows;
    for (int64_t at = 0; at < p.num_ws; ++at) {
      int64_t slot = 0;
      while (slot < p.sizes.slots && p.index[slot] != at) ++slot;
      if (slot < p.sizes.slots) {
        edit_slot(p, scratch, first, rows, slot, at);
        continue;
      }
      for (int64_t r = first; r < first + rows; ++r) {
        std::memcpy(static_cast<A*>(p.y) + r * stride + at * inputs,
                    static_cast<const A*>(p.ws) + r * stride + at * inputs, sizeof(A) * inputs);
      }
    }
  }
}

DELTAFAST_FLOAT_AND_DOUBLE(delta_edit, DeltaEditParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
