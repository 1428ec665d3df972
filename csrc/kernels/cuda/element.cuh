// Loading and storing, whatever the element type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/target.h"

namespace deltafast::cuda {

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

template <typename T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

// `Count` neighbouring elements, moved by one memory instruction.
template <typename T, int Count>
struct alignas(sizeof(T) * Count) Pack {
  T at[Count];
};

template <typename T, int Count>
__device__ __forceinline__ Pack<T, Count> load_pack(const void* base, int64_t index) {
  return *reinterpret_cast<const Pack<T, Count>*>(static_cast<const T*>(base) + index);
}

template <typename T, int Count>
__device__ __forceinline__ void store_pack(void* base, int64_t index, const Pack<T, Count>& pack) {
  *reinterpret_cast<Pack<T, Count>*>(static_cast<T*>(base) + index) = pack;
}

inline bool is_aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Calls `run` with a value of the element type.
template <typename Run>
cudaError_t with_element(Element element, Run run) {
  switch (element) {
    case Element::kHalf:
      return run(__half{});
    case Element::kBfloat16:
      return run(__nv_bfloat16{});
    default:
      return run(float{});
  }
}

}  // namespace deltafast::cuda
