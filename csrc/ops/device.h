// Registers an op's implementations, and runs a kernel on the device of its tensors: on the CPU, or
// on CUDA under a device guard on torch's stream.
#pragma once

#include "kernels/target.h"
#include "ops/tensor.h"

// What follows is a function's body that gives `library` the implementations of ops:
//   DELTAFAST_IMPLEMENT_CPU(library) { library.impl("NAME", TORCH_BOX(&forward)); }
// for the CPU, for CUDA (where this build has it), or for both by the same functions. Their schemas
// are in module.cpp. The emulation's CUDA kernels take tensors on the CPU.
#define DELTAFAST_IMPLEMENT_CPU(library) STABLE_TORCH_LIBRARY_IMPL(deltafast, CPU, library)
#if defined(DELTAFAST_CUDA) && !defined(DELTAFAST_EMULATE_CUDA)
#define DELTAFAST_IMPLEMENT_CUDA(library) STABLE_TORCH_LIBRARY_IMPL(deltafast, CUDA, library)
#define DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library)                             \
  static void implement(torch::stable::detail::StableLibrary& library);       \
  STABLE_TORCH_LIBRARY_IMPL(deltafast, CPU, library) { implement(library); }  \
  STABLE_TORCH_LIBRARY_IMPL(deltafast, CUDA, library) { implement(library); } \
  static void implement(torch::stable::detail::StableLibrary& library)
#else
#if defined(DELTAFAST_EMULATE_CUDA)
#define DELTAFAST_IMPLEMENT_CUDA(library) STABLE_TORCH_LIBRARY_IMPL(deltafast, CPU, library)
#else
#define DELTAFAST_IMPLEMENT_CUDA(library) \
  [[maybe_unused]] static void not_in_this_build(torch::stable::detail::StableLibrary& library)
#endif
#define DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) STABLE_TORCH_LIBRARY_IMPL(deltafast, CPU, library)
#endif

namespace deltafast::ops {

using cuda::CudaTarget;

#if defined(DELTAFAST_CUDA)

// The stream that torch uses on `device` now, and the element type of `x`.
CudaTarget cuda_target(const Tensor& x, const char* op);

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

#else

inline bool runs_on_cuda(const Tensor&) { return false; }  // nothing is registered for CUDA

#endif

// The element type by which the CUDA kernels call a dtype; throws, naming the op, where they do not
// take it.
inline cuda::Element cuda_element(const char* op, ScalarType type) {
  switch (type) {
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

// Runs `on_cuda(target)`, which gives a cudaError_t. A template of the target's type, so that a
// build without CUDA needs no CUDA kernel.
template <typename Cuda>
void run_on_cuda([[maybe_unused]] const char* op, [[maybe_unused]] const Tensor& x,
                 [[maybe_unused]] Cuda on_cuda) {
#if defined(DELTAFAST_CUDA)
#if !defined(DELTAFAST_EMULATE_CUDA)
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
#endif
  check_cuda(on_cuda(cuda_target(x, op)), op);
#endif
}

// Runs `on_cpu()` or `on_cuda(target)`, whichever is the place of `x`; on CUDA, `A`, the type of
// accumulation, is float always.
template <typename A, typename Cpu, typename Cuda>
void run_kernel(const char* op, const Tensor& x, Cpu on_cpu, [[maybe_unused]] Cuda on_cuda) {
  if (!runs_on_cuda(x)) {
    on_cpu();
  } else if constexpr (sizeof(A) == sizeof(float)) {
    run_on_cuda(op, x, on_cuda);
  }
}

}  // namespace deltafast::ops
