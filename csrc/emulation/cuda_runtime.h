// What the CUDA kernels use of <cuda_runtime.h>, for a C++ compiler: the emulation of grid.h.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulation/grid.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __grid_constant__

#define CUDART_VERSION 13000

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorLaunchFailure = 719
};
using cudaStream_t = struct EmulatedStream*;

inline cudaError_t cudaGetLastError() {
  return static_cast<cudaError_t>(deltafast::emulation::take_error());
}

enum cudaFuncAttribute : int { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value) {
  const bool allowed = deltafast::emulation::allow_shared(reinterpret_cast<const void*>(kernel),
                                                          static_cast<size_t>(value));
  return allowed ? cudaSuccess : cudaErrorInvalidValue;
}

// One device with so few multiprocessors that persistent blocks take several tiles.
enum cudaDeviceAttr : int { cudaDevAttrMultiProcessorCount = 16 };

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 2;
  return cudaSuccess;
}

enum cudaDriverEntryPointQueryResult : int {
  cudaDriverEntryPointSuccess = 0,
  cudaDriverEntryPointSymbolNotFound = 1
};
constexpr unsigned long long cudaEnableDefault = 0;

// The driver's functions that kernels ask for.
inline cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** found, unsigned,
                                                    unsigned long long,
                                                    cudaDriverEntryPointQueryResult* result) {
  *found = deltafast::emulation::driver_function(name);
  *result = *found ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

using deltafast::emulation::blockDim;
using deltafast::emulation::blockIdx;
using deltafast::emulation::dim3;
using deltafast::emulation::gridDim;
using deltafast::emulation::threadIdx;

struct alignas(16) float4 {
  float x, y, z, w;
};

template <typename T>
__forceinline__ T __ldg(const T* at) {
  return *at;
}

inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

#define __syncthreads() ::deltafast::emulation::block_barrier(__LINE__)

#define __shfl_down_sync(mask, value, offset) \
  ::deltafast::emulation::shuffle_down(mask, value, offset, __LINE__)
#define __shfl_xor_sync(mask, value, offset) \
  ::deltafast::emulation::shuffle_xor(mask, value, offset, __LINE__)
