// Reads the three numbers that noise comes from: int64 tensors [] on the device of the op.
#pragma once

#include "kernels/philox.h"
#include "ops/arguments.h"

namespace deltafast::ops {

template <typename A>
NoiseKey read_noise_key(Arguments<A>& arguments, const Tensor& seed, const Tensor& step,
                        const Tensor& first_sample) {
  NoiseKey key;
  key.seed = arguments.template read<int64_t>(seed, {}, "seed");
  key.step = arguments.template read<int64_t>(step, {}, "step");
  key.first_sample = arguments.template read<int64_t>(first_sample, {}, "first_sample");
  return key;
}

}  // namespace deltafast::ops
