// Reads the three numbers that noise comes from: int64 tensors on the device of the op.
#pragma once

#include "kernels/philox.h"
#include "ops/tensor.h"

namespace deltafast::ops {

struct NoiseTensors {
  Tensor seed;
  Tensor step;
  Tensor first_sample;
  NoiseKey key;

  NoiseTensors(const Tensor& seed_in, const Tensor& step_in, const Tensor& first_sample_in,
               const Tensor& x, const char* op)
      : seed(dense_argument(seed_in, x, ScalarType::Long, {}, op, "seed")),
        step(dense_argument(step_in, x, ScalarType::Long, {}, op, "step")),
        first_sample(dense_argument(first_sample_in, x, ScalarType::Long, {}, op, "first_sample")) {
    key.seed = static_cast<const int64_t*>(seed.const_data_ptr());
    key.step = static_cast<const int64_t*>(step.const_data_ptr());
    key.first_sample = static_cast<const int64_t*>(first_sample.const_data_ptr());
  }
};

}  // namespace deltafast::ops
