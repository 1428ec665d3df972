// What the stages of a training step of E and D share. Included inside one copy of the kernels
// only.
#pragma once

#include <cstring>
#include <new>

#include "kernels/cpu/delta_loss.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/noise.h"
#include "kernels/cpu/small_gemm.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

template <typename A>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<A*>(::operator new(sizeof(A) * count, kAlignment))) {}
  ~Scratch() { ::operator delete(data_, kAlignment); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  A* take(int64_t count) {
    A* result = data_ + taken_;
    taken_ += count;
    return result;
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  A* data_;
  int64_t taken_ = 0;
};

// The pointers that all stages share.
template <typename A>
struct Step {
  const DeltaLossParams<A>& p;
  const DeltaSizes& s;
  const DeltaLayout at;
  const PairSums sums;
  const StepWorkspace<A> space;
  const int64_t frame_pairs;

  explicit Step(const DeltaLossParams<A>& params)
      : p(params),
        s(params.sizes),
        at(delta_layout(params.sizes)),
        sums(pair_sums(params.sizes)),
        space(step_workspace(params)),
        frame_pairs(params.frames * (params.frames - 1)) {}

  const A* weight(int64_t offset, int64_t slot, int64_t size) const {
    return p.weights + offset + slot * size;
  }
  A* gradient(int64_t offset, int64_t slot, int64_t size) const {
    return p.gradients + offset + slot * size;
  }
  const A* frames_of(int64_t slot, int64_t identity) const {
    return static_cast<const A*>(p.x) + (slot * p.identities + identity) * p.frames * s.inputs;
  }
  A* table(int which, int64_t slot, int64_t pair) const {
    return space.tables + ((which * s.slots + slot) * p.pairs + pair) * p.frames * s.width;
  }
  // Weight and bias of hidden layer k of E or D.
  int64_t hidden(int64_t first, int64_t k) const { return first + k * hidden_size(s); }
  NoiseSource noise(int64_t pair, int stream) const {
    return noise_source(*p.key.seed, *p.key.step, *p.key.first_sample + pair, stream);
  }
  // The gradient's factor: 2 lambda over the number of components.
  A scale(A lambda) const {
    const double components =
        static_cast<double>(s.slots) * static_cast<double>(p.pairs * frame_pairs) * s.inputs;
    return static_cast<A>(2.0 * static_cast<double>(lambda) / components);
  }
};

template <typename A>
void fill_rows(A* rows, int64_t count, const A* bias, int64_t width) {
  for (int64_t r = 0; r < count; ++r) std::memcpy(rows + r * width, bias, sizeof(A) * width);
}

}  // namespace
}  // namespace deltafast::cpu::DELTAFAST_ISA
