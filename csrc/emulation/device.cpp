// ops/device.h where the CUDA kernels are emulated on the CPU.

#include "ops/device.h"

#include "emulation/grid.h"

namespace deltafast::ops {

bool stream_lookup_works() { return false; }

CudaTarget cuda_target(const Tensor& x, const char* op) {
  CudaTarget target;
  switch (x.scalar_type()) {
    case ScalarType::Float:
      break;
    case ScalarType::Half:
      target.element = cuda::Element::kHalf;
      break;
    case ScalarType::BFloat16:
      target.element = cuda::Element::kBfloat16;
      break;
    default:
      STD_TORCH_CHECK(false, op, ": the CUDA kernels take float32, float16 and bfloat16");
  }
  return target;
}

void check_cuda(int error, const char* op) {
  const std::string text = emulation::take_text();
  STD_TORCH_CHECK(error == 0, op,
                  " in the emulation: ", text.empty() ? "the kernel refuses these sizes" : text);
}

}  // namespace deltafast::ops
