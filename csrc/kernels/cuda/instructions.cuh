// All inline assembly: thin wrappers, one instruction each. csrc/emulation/cuda/ has the same
// functions for the emulation.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

// Whether the instructions exist: from sm_80 on. Where they do not, kernels that are made of them
// have no body.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define DELTAFAST_TENSOR_CORES 1
#else
#define DELTAFAST_TENSOR_CORES 0
#endif

namespace deltafast::cuda {

// The address of shared memory as instructions take it.
__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

#if DELTAFAST_TENSOR_CORES

// Begins to copy 16 bytes to shared memory, past L1; zeros where `exists` is false. Both addresses
// are multiples of 16.
__device__ __forceinline__ void copy_async(unsigned to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
               "r"(exists ? 16 : 0)
               : "memory");
}

// Makes a group of the copies that this thread has begun since its last group.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}

// Waits until all but this thread's last kPending groups have landed.
template <int kPending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements from shared memory: lane 8 m + r gives the address of row
// r of matrix m (16 bytes); lane 4 r + c receives columns 2 c and 2 c + 1 of row r of each.
__device__ __forceinline__ void load_matrices(unsigned (&result)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
               : "r"(address)
               : "memory");
}

// sums [16, 8] += a [16, 16] b [16, 8]; T is __half or __nv_bfloat16. With g = lane / 4 and
// q = lane % 4, a lane holds rows g and g + 8, columns 2 q and 2 q + 1 of sums; a: the same rows,
// columns 2 q, 2 q + 1 and the same eight further on, in the order (g, 2 q), (g + 8, 2 q),
// (g, 2 q + 8), (g + 8, 2 q + 8); b: rows 2 q, 2 q + 1 (b0) and eight further down (b1), column g.
template <typename T>
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                         unsigned b1);

template <>
__device__ __forceinline__ void multiply<__half>(float (&sums)[4], const unsigned (&a)[4],
                                                 unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&sums)[4], const unsigned (&a)[4],
                                                        unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

}  // namespace deltafast::cuda
