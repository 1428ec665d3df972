// Philox integers and normal numbers: parameters and entry points, free of torch.
#pragma once

#include <cstdint>

#include "kernels/target.h"

namespace deltafast {

// Raw words: counters and keys of 32-bit words, kept in int64.
struct PhiloxParams {
  const int64_t* counters = nullptr;  // [count, 4]
  const int64_t* keys = nullptr;      // [2]
  int64_t* words = nullptr;           // [count, 4]
  int64_t count = 0;
};

// Where noise comes from; the three numbers lie on the device that draws, so that a captured graph
// reads them anew.
struct NoiseKey {
  const int64_t* seed = nullptr;
  const int64_t* step = nullptr;
  const int64_t* first_sample = nullptr;
};

struct NormalParams {
  NoiseKey key;
  int stream = 0;
  int64_t samples = 0;
  int64_t elements = 0;  // of one sample
  float* y = nullptr;    // [samples, elements]
};

namespace cpu {
void philox4x32(const PhiloxParams& params, ParallelFor parallel_for);
void philox_normal(const NormalParams& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
int philox4x32(const PhiloxParams& params, const CudaTarget& target);
int philox_normal(const NormalParams& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
