// CUDA kernels of subband_image: one thread for each colour of each pixel of the subbands.

#include "kernels/cuda/element.cuh"
#include "kernels/shared/subband_image.h"

namespace deltafast::cuda {
namespace {

using Params = SubbandImageParams<float>;

template <typename T>
struct Element1 {
  static __device__ __forceinline__ float get(const void* base, int64_t index) {
    return to_float(static_cast<const T*>(base)[index]);
  }
  static __device__ __forceinline__ void set(void* base, int64_t index, float value) {
    static_cast<T*>(base)[index] = from_float<T>(value);
  }
};

constexpr int kThreads = 256;

template <typename T, bool Backward>
__global__ void __launch_bounds__(kThreads, 4) kernel(const Params p, int64_t units) {
  for (int64_t unit = int64_t(blockIdx.x) * kThreads + threadIdx.x; unit < units;
       unit += int64_t(gridDim.x) * kThreads) {
    if (Backward) {
      subbands_backward<Element1<T>>(p, unit);
    } else {
      subbands_forward<Element1<T>>(p, unit);
    }
  }
}

template <bool Backward>
int run(const Params& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    const int64_t units = p.batch * p.height * p.width * p.colours;
    const int64_t blocks = (units + kThreads - 1) / kThreads;
    kernel<T, Backward><<<blocks_for(blocks), kThreads, 0, stream>>>(p, units);
    return cudaGetLastError();
  });
}

}  // namespace

int subband_image(const SubbandImageParams<float>& params, const CudaTarget& target) {
  return run<false>(params, target);
}

int subband_image_backward(const SubbandImageParams<float>& params, const CudaTarget& target) {
  return run<true>(params, target);
}

}  // namespace deltafast::cuda
