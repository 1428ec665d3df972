// kernels/cuda/instructions.cuh for the emulation: the same functions.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>

#include "emulation/asynchronous_copy.h"
#include "emulation/grid.h"
#include "emulation/tensor_core.h"

#define DELTAFAST_TENSOR_CORES 1

namespace deltafast::cuda {

using emulation::shared_address;

inline void copy_async(unsigned to, const void* from, bool exists) {
  emulation::begin_copy(to, from, exists);
}

inline void commit_copies() { emulation::commit_copies(); }

template <int kPending>
inline void wait_copies() {
  emulation::wait_copies(kPending);
}

inline void load_matrices(unsigned (&result)[4], unsigned address, int line = __builtin_LINE()) {
  emulation::load_matrices(result, address, line);
}

template <typename T>
inline void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                     int line = __builtin_LINE()) {
  const unsigned b[2] = {b0, b1};
  T left[8], right[4];  // a register holds two
  std::memcpy(left, a, sizeof(a));
  std::memcpy(right, b, sizeof(b));
  float left_values[8], right_values[4];
  for (int i = 0; i < 8; ++i) left_values[i] = static_cast<float>(left[i]);
  for (int i = 0; i < 4; ++i) right_values[i] = static_cast<float>(right[i]);
  emulation::multiply(sums, left_values, right_values, line);
}

}  // namespace deltafast::cuda
