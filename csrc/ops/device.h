// Runs an op on the device of its tensors: the CPU kernel, or the CUDA kernel under a device guard
// on torch's stream.
#pragma once

#include "kernels/filtered_epilogue.h"
#include "kernels/modulated_epilogue.h"
#include "kernels/to_rgb.h"
#include "kernels/upfirdn2d.h"
#include "ops/tensor.h"

#if defined(DELTAFAST_CUDA)
#include "kernels/cuda/kernels.h"
#endif

namespace deltafast::ops {

#if defined(DELTAFAST_CUDA)

using cuda::CudaTarget;

// The stream that torch uses on `device` now, and the element type of `x`.
CudaTarget cuda_target(const Tensor& x, const char* op);

// The element type of `x`; throws, naming the op, where the kernels do not take it.
inline cuda::Element element_of(const Tensor& x, const char* op) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return cuda::Element::kFloat;
    case ScalarType::Half:
      return cuda::Element::kHalf;
    case ScalarType::BFloat16:
      return cuda::Element::kBfloat16;
    default:
      STD_TORCH_CHECK(false, op, ": the CUDA kernels take float32, float16 and bfloat16");
  }
}

// Whether torch's stream getter is found in this process; needs no GPU.
bool stream_lookup_works();

// Throws, naming the op and the remedy, unless `error` is cudaSuccess.
void check_cuda(int error, const char* op);

// Whether the CUDA kernels are those that run on `x`: in the emulation (csrc/emulation), always.
inline bool runs_on_cuda([[maybe_unused]] const Tensor& x) {
#if defined(DELTAFAST_EMULATE_CUDA)
  return true;
#else
  return x.is_cuda();
#endif
}

template <typename A>
int cuda_filtered_epilogue(const FilteredEpilogueParams<A>& params, const CudaTarget& target) {
  if constexpr (sizeof(A) == sizeof(float)) {
    return cuda::filtered_epilogue(params, target);
  } else {
    STD_TORCH_CHECK(false, "filtered_epilogue: there is no float64 kernel on CUDA");
  }
}

template <typename A>
int cuda_modulated_epilogue(const EpilogueParams<A>& params, const CudaTarget& target) {
  if constexpr (sizeof(A) == sizeof(float)) {
    return cuda::modulated_epilogue(params, target);
  } else {
    STD_TORCH_CHECK(false, "modulated_epilogue: there is no float64 kernel on CUDA");
  }
}

template <typename A>
int cuda_modulated_epilogue_backward(const EpilogueParams<A>& params, const CudaTarget& target) {
  if constexpr (sizeof(A) == sizeof(float)) {
    return cuda::modulated_epilogue_backward(params, target);
  } else {
    STD_TORCH_CHECK(false, "modulated_epilogue: there is no float64 kernel on CUDA");
  }
}

template <typename A>
int cuda_to_rgb(const ToRgbParams<A>& params, const CudaTarget& target) {
  if constexpr (sizeof(A) == sizeof(float)) {
    return cuda::to_rgb(params, target);
  } else {
    STD_TORCH_CHECK(false, "to_rgb: there is no float64 kernel on CUDA");
  }
}

template <typename Cpu, typename Cuda>
void run_kernel(const Tensor& x, const char* op, Cpu on_cpu, Cuda on_cuda) {
  if (!runs_on_cuda(x)) {
    on_cpu();
    return;
  }
#if !defined(DELTAFAST_EMULATE_CUDA)
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
#endif
  check_cuda(on_cuda(cuda_target(x, op)), op);
}

#else

struct CudaTarget {};

inline bool runs_on_cuda(const Tensor&) { return false; }

template <typename A>
int cuda_filtered_epilogue(const FilteredEpilogueParams<A>&, const CudaTarget&) {
  return 0;
}

template <typename A>
int cuda_modulated_epilogue(const EpilogueParams<A>&, const CudaTarget&) {
  return 0;
}

template <typename A>
int cuda_modulated_epilogue_backward(const EpilogueParams<A>&, const CudaTarget&) {
  return 0;
}

template <typename A>
int cuda_to_rgb(const ToRgbParams<A>&, const CudaTarget&) {
  return 0;
}

template <typename Cpu, typename Cuda>
void run_kernel(const Tensor&, const char*, Cpu on_cpu, Cuda) {
  on_cpu();  // nothing is registered for CUDA in this build
}

#endif

}  // namespace deltafast::ops
