// What the kernels of an edit share, jump and flow: a block has rows of one slot in shared memory,
// lanes run along the components of a layer, and a thread holds a few rows of one component.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace deltafast::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kWarp * kWarps;
constexpr size_t kMaxShared = 48 * 1024;

// The length of a row in shared memory.
__host__ __device__ __forceinline__ int padded(int64_t count) {
  return (static_cast<int>(count) + 3) / 4 * 4;
}

// sums[r] += sum over k of a[row r of this warp][k] * b[k * ldb]; rows of a are lda apart, a
// multiple of 4, and zero behind `depth`.
template <int Rows>
__device__ __forceinline__ void accumulate(float (&sums)[Rows], const float* a, int lda, int depth,
                                           const float* b, int64_t ldb) {
  for (int k = 0; k < depth; k += 4) {
    float right[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) right[i] = k + i < depth ? __ldg(b + (k + i) * ldb) : 0.0f;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float4 left = *reinterpret_cast<const float4*>(a + r * lda + k);
      sums[r] += left.x * right[0];
      sums[r] += left.y * right[1];
      sums[r] += left.z * right[2];
      sums[r] += left.w * right[3];
    }
  }
}

}  // namespace
}  // namespace deltafast::cuda
