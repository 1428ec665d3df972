// All inline assembly that sm_90a alone has: thin wrappers, one instruction each. What is older is
// in ../instructions.cuh. csrc/emulation/cuda/sm90/ has the same functions for the emulation.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

// Whether the instructions exist. Where they do not, kernels that are made of them have no body.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define DELTAFAST_WARPGROUPS 1
#else
#define DELTAFAST_WARPGROUPS 0
#endif

namespace deltafast::cuda {

#if DELTAFAST_WARPGROUPS

// ---- barriers in shared memory (mbarrier): phases that end when all have arrived and all bytes

// Begins a barrier of 8 bytes whose phases end with so many arrivals.
__device__ __forceinline__ void begin_barrier(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals)
               : "memory");
}

// Lets asynchronous copies, and behind a barrier of the block other threads, see the barriers that
// this thread has begun.
__device__ __forceinline__ void show_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}

__device__ __forceinline__ void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}

// Arrives, and lets the phase wait for so many bytes more.
__device__ __forceinline__ void arrive_expecting(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Waits until the phase of this parity (0 for the first, 1 for the second, and so on) has ended. Of
// a barrier just begun, a phase of parity 1 counts as ended.
__device__ __forceinline__ void wait_phase(unsigned barrier, unsigned parity) {
  unsigned ended;
  do {
    asm volatile(
        "{\n.reg .pred ended;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n}\n"
        : "=r"(ended)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (ended == 0);
}

// __syncthreads for so many threads, a multiple of 32; numbers from 1 to 15.
__device__ __forceinline__ void named_barrier(int number, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(number), "r"(threads) : "memory");
}

// ---- boxes of tensors (TMA). Coordinates from the innermost axis on; what lies outside the tensor
// ---- is read as zero and not written

__device__ __forceinline__ void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

// Begins to copy a box to shared memory; its bytes, zeros among them, count for the barrier's
// phase.
__device__ __forceinline__ void load_box(unsigned to, const CUtensorMap* map, unsigned barrier,
                                         int at0, int at1, int at2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%3, %4, %5}], [%2];\n" ::"r"(to),
      "l"(map), "r"(barrier), "r"(at0), "r"(at1), "r"(at2)
      : "memory");
}

__device__ __forceinline__ void load_box(unsigned to, const CUtensorMap* map, unsigned barrier,
                                         int at0, int at1, int at2, int at3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%3, %4, %5, %6}], [%2];\n" ::"r"(to),
      "l"(map), "r"(barrier), "r"(at0), "r"(at1), "r"(at2), "r"(at3)
      : "memory");
}

// Begins to copy a box from shared memory.
__device__ __forceinline__ void store_box(const CUtensorMap* map, unsigned from, int at0, int at1,
                                          int at2, int at3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], "
      "[%1];\n" ::"l"(map),
      "r"(from), "r"(at0), "r"(at1), "r"(at2), "r"(at3)
      : "memory");
}

// Makes a group of the stores that this thread has begun since its last group.
__device__ __forceinline__ void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;\n" ::: "memory");
}

// Waits until all but this thread's last kPending groups of stores have read shared memory.
template <int kPending>
__device__ __forceinline__ void wait_stores() {
  asm volatile("cp.async.bulk.wait_group.read %0;\n" ::"n"(kPending) : "memory");
}

// Lets asynchronous copies see what this thread has written to shared memory.
__device__ __forceinline__ void show_writes() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// Four 8 x 8 matrices of 16-bit elements to shared memory, load_matrices' counterpart: lane 8 m + r
// gives the address of row r of matrix m; lane 4 r + c has columns 2 c and 2 c + 1 of row r of
// each.
__device__ __forceinline__ void store_matrices(unsigned address, const unsigned (&values)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(address),
               "r"(values[0]), "r"(values[1]), "r"(values[2]), "r"(values[3])
               : "memory");
}

// ---- products of a warpgroup: four warps, the first of a number divisible by four (wgmma)

// Registers of sums that were written otherwise may be used by products from here on.
__device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

// Makes a group of the products begun since the last group.
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

// Waits until all but the last kPending groups are done: sums may be read, operands overwritten.
template <int kPending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}

// Keeps the compiler from moving sums past what is written before it.
template <int kCount>
__device__ __forceinline__ void hold(float (&sums)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

#define DELTAFAST_4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define DELTAFAST_16(i) DELTAFAST_4(i), DELTAFAST_4(i + 4), DELTAFAST_4(i + 8), DELTAFAST_4(i + 12)
#define DELTAFAST_NAMES_32                                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, " \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define DELTAFAST_NAMES_64                                                                  \
  DELTAFAST_NAMES_32                                                                        \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, " \
  "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define DELTAFAST_MULTIPLY_64(type)                                                       \
  asm volatile(                                                                           \
      "{\n.reg .pred adds;\nsetp.ne.b32 adds, %34, 0;\n"                                  \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" DELTAFAST_NAMES_32 \
      "}, %32, %33, adds, 1, 1, 0, 0;\n}\n"                                               \
      : DELTAFAST_16(0), DELTAFAST_16(16)                                                 \
      : "l"(a), "l"(b), "r"(adds ? 1 : 0))
#define DELTAFAST_MULTIPLY_128(type)                                                       \
  asm volatile(                                                                            \
      "{\n.reg .pred adds;\nsetp.ne.b32 adds, %66, 0;\n"                                   \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" DELTAFAST_NAMES_64 \
      "}, %64, %65, adds, 1, 1, 0, 0;\n}\n"                                                \
      : DELTAFAST_16(0), DELTAFAST_16(16), DELTAFAST_16(32), DELTAFAST_16(48)              \
      : "l"(a), "l"(b), "r"(adds ? 1 : 0))

// Begins sums [64, C] = a [64, 16] b^T [C, 16], or += where `adds`; C is 64 or 128, T is __half or
// __nv_bfloat16. Lane l of warp w, with g = l / 4 and q = l % 4, holds in sums[4 j + 2 h + e] row
// 16 w + g + 8 h, column 8 j + 2 q + e.
template <typename T>
__device__ __forceinline__ void multiply_async(float (&sums)[32], uint64_t a, uint64_t b,
                                               bool adds);
template <typename T>
__device__ __forceinline__ void multiply_async(float (&sums)[64], uint64_t a, uint64_t b,
                                               bool adds);

template <>
__device__ __forceinline__ void multiply_async<__half>(float (&sums)[32], uint64_t a, uint64_t b,
                                                       bool adds) {
  DELTAFAST_MULTIPLY_64("f16");
}
template <>
__device__ __forceinline__ void multiply_async<__nv_bfloat16>(float (&sums)[32], uint64_t a,
                                                              uint64_t b, bool adds) {
  DELTAFAST_MULTIPLY_64("bf16");
}
template <>
__device__ __forceinline__ void multiply_async<__half>(float (&sums)[64], uint64_t a, uint64_t b,
                                                       bool adds) {
  DELTAFAST_MULTIPLY_128("f16");
}
template <>
__device__ __forceinline__ void multiply_async<__nv_bfloat16>(float (&sums)[64], uint64_t a,
                                                              uint64_t b, bool adds) {
  DELTAFAST_MULTIPLY_128("bf16");
}

#undef DELTAFAST_MULTIPLY_128
#undef DELTAFAST_MULTIPLY_64
#undef DELTAFAST_NAMES_64
#undef DELTAFAST_NAMES_32
#undef DELTAFAST_16
#undef DELTAFAST_4

// ---- registers of a warpgroup, a multiple of 8 a thread

template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

// Waits until there are as many.
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

#endif

}  // namespace deltafast::cuda
