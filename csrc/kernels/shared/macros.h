// Marks functions that the CPU and the CUDA kernels share.
//
// On the CPU every kernel file is compiled once per instruction set. A shared function must never
// become a symbol of its own there: the linker would keep one copy of it, possibly the one that
// only an AVX-512 machine can run.
#pragma once

#if defined(__CUDACC__)
#define DELTAFAST_HD __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define DELTAFAST_HD static __forceinline
#else
#define DELTAFAST_HD static inline __attribute__((always_inline))
#endif

// The same for member functions of classes that live in one instruction set's namespace.
#if defined(__GNUC__)
#define DELTAFAST_INLINE inline __attribute__((always_inline))
#else
#define DELTAFAST_INLINE inline
#endif
