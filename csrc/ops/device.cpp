// Everything that a launch needs from torch and from the driver: the stream, the element type,
// readable errors. Compiled into CUDA builds only.

#include "ops/device.h"

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <string>

namespace deltafast::ops {
namespace {

using StreamGetter = AOTITorchError (*)(int32_t device_index, void** stream);

// torch's current stream comes from its CUDA library, which a build against a CPU torch cannot
// link. That library is loaded with local symbols, so dlsym(RTLD_DEFAULT) does not see it; a handle
// to the loaded copy does.
StreamGetter find_stream_getter() {
  void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
  if (library == nullptr) return nullptr;
  return reinterpret_cast<StreamGetter>(dlsym(library, "aoti_torch_get_current_cuda_stream"));
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

bool stream_lookup_works() { return find_stream_getter() != nullptr; }

CudaTarget cuda_target(const Tensor& x, const char* op) {
  static const StreamGetter get_stream = find_stream_getter();
  STD_TORCH_CHECK(get_stream != nullptr, op,
                  ": this torch has no CUDA library loaded (libtorch_cuda.so), so there is no "
                  "stream to run on");
  const int32_t device = x.get_device_index();
  CudaTarget target;
  TORCH_ERROR_CODE_CHECK(get_stream(device, &target.stream));
  // Two CUDA runtimes live in this process, torch's and the one linked in here; both share the
  // device's context.
  check_cuda(cudaSetDevice(device), op);
  target.element = cuda_element(op, x.scalar_type());
  return target;
}

void check_cuda(int code, const char* op) {
  const auto error = static_cast<cudaError_t>(code);
  if (error == cudaSuccess) return;
  std::string text = std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    text = "the NVIDIA driver supports CUDA " + version_text(driver) +
           ", but deltafast was built with CUDA " + version_text(CUDART_VERSION) +
           ". Update the driver, or build deltafast with an older nvcc";
  } else if (error == cudaErrorNoKernelImageForDevice) {
    text = "deltafast was not compiled for this GPU (it has " DELTAFAST_CUDA_ARCHITECTURES
           "). Build it again with TORCH_CUDA_ARCH_LIST set to the GPU's compute capability";
  } else if (error == cudaErrorInvalidValue) {
    text +=
        ". Most often the filter or the image is larger than the CUDA kernel takes; if so, use "
        "impl='reference'";
  }
  STD_TORCH_CHECK(false, op, " on CUDA: ", text);
}

}  // namespace deltafast::ops
