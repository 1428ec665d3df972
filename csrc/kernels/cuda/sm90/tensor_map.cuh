// Descriptions of tensors in global memory whose boxes are copied (tensor maps): the driver makes
// them. It is asked for its function at run time, so that nothing links to it.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/target.h"

namespace deltafast::cuda {

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                                 const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                                 const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// The driver's cuTensorMapEncodeTiled; null where it has none.
inline EncodeTiled find_encode_tiled() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                             12000, cudaEnableDefault, &result);
#else
  const cudaError_t error =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result);
#endif
  const bool there = error == cudaSuccess && result == cudaDriverEntryPointSuccess;
  return there ? reinterpret_cast<EncodeTiled>(found) : nullptr;
}

// `kRank` axes from the innermost on, dense but for `strides`, bytes from one to the next of all
// but the innermost; boxes of `box` elements, rows of 128 bytes, swizzled in shared memory.
template <int kRank>
cudaError_t describe(CUtensorMap& map, Element element, const void* data,
                     const cuuint64_t (&sizes)[kRank], const cuuint64_t (&strides)[kRank - 1],
                     const cuuint32_t (&box)[kRank]) {
  static const EncodeTiled encode = find_encode_tiled();
  if (!encode) return cudaErrorInsufficientDriver;
  cuuint32_t steps[kRank];
  for (cuuint32_t& step : steps) step = 1;
  const CUtensorMapDataType type = element == Element::kHalf ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                             : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const CUresult result =
      encode(&map, type, kRank, const_cast<void*>(data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace deltafast::cuda
