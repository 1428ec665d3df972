// ops/device.h where the CUDA kernels are emulated on the CPU.

#include "ops/device.h"

#include "emulation/grid.h"

namespace deltafast::ops {

bool stream_lookup_works() { return false; }

CudaTarget cuda_target(const Tensor& x, const char* op) {
  return {cuda_element(op, x.scalar_type()), nullptr};
}

void check_cuda(int error, const char* op) {
  const std::string text = emulation::take_text();
  STD_TORCH_CHECK(error == 0, op,
                  " in the emulation: ", text.empty() ? "the kernel refuses these sizes" : text);
}

}  // namespace deltafast::ops
