// CUDA kernels of subband_image: one thread for each colour of each pixel of the subbands, which is
// 2 x 2 pixels of the image.

#include "kernels/cuda/element.cuh"
#include "kernels/subband_image.h"

namespace deltafast::cuda {
namespace {

constexpr int kThreads = 256;

// The inverse Haar transform without its factor 1/2, and its own transpose: low, vertical,
// horizontal, diagonal <-> top left, top right, bottom left, bottom right.
__device__ __forceinline__ void haar_butterfly(float (&v)[4]) {
  const float top = v[0] + v[1], bottom = v[0] - v[1];
  const float top_detail = v[2] + v[3], bottom_detail = v[2] - v[3];
  v[0] = top + top_detail;
  v[1] = top - top_detail;
  v[2] = bottom + bottom_detail;
  v[3] = bottom - bottom_detail;
}

// Where unit `unit` lies; units are counted through colours, then pixels, then samples.
struct SubbandPlace {
  int64_t colour;
  int64_t subbands;  // index of its first subband in x
  int64_t image;     // index of its top left pixel in the image
};

__device__ __forceinline__ SubbandPlace subband_place(const SubbandImageParams& p, int64_t unit) {
  const int64_t pixel = unit / p.colours;  // of the whole batch
  const int64_t row = pixel / p.width;     // of the whole batch
  SubbandPlace place;
  place.colour = unit % p.colours;
  place.subbands = pixel * 4 * p.colours + place.colour;
  const int64_t plane = row / p.height * p.colours + place.colour;
  place.image = (plane * 2 * p.height + 2 * (row % p.height)) * 2 * p.width + 2 * (pixel % p.width);
  return place;
}

template <typename T>
__device__ __forceinline__ void forward_unit(const SubbandImageParams& p, int64_t unit) {
  const SubbandPlace place = subband_place(p, unit);
  float v[4];
#pragma unroll
  for (int band = 0; band < 4; ++band) {
    v[band] = to_float(static_cast<const T*>(p.x)[place.subbands + band * p.colours]);
    if (p.bias) v[band] += p.bias[band * p.colours + place.colour];
  }
  haar_butterfly(v);
  float* top = p.image + place.image;
  float* bottom = top + 2 * p.width;
  top[0] = v[0];
  top[1] = v[1];
  bottom[0] = v[2];
  bottom[1] = v[3];
}

template <typename T>
__device__ __forceinline__ void backward_unit(const SubbandImageParams& p, int64_t unit) {
  const SubbandPlace place = subband_place(p, unit);
  const float* top = p.grad + place.image;
  const float* bottom = top + 2 * p.width;
  float v[4] = {top[0], top[1], bottom[0], bottom[1]};
  haar_butterfly(v);
#pragma unroll
  for (int band = 0; band < 4; ++band) {
    static_cast<T*>(p.grad_x)[place.subbands + band * p.colours] = from_float<T>(v[band]);
  }
}

template <typename T, bool Backward>
__global__ void __launch_bounds__(kThreads, 4) kernel(const SubbandImageParams p, int64_t units) {
  for (int64_t unit = int64_t(blockIdx.x) * kThreads + threadIdx.x; unit < units;
       unit += int64_t(gridDim.x) * kThreads) {
    if (Backward) {
      backward_unit<T>(p, unit);
    } else {
      forward_unit<T>(p, unit);
    }
  }
}

template <bool Backward>
int run(const SubbandImageParams& p, const CudaTarget& target) {
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

int subband_image(const SubbandImageParams& params, const CudaTarget& target) {
  return run<false>(params, target);
}

int subband_image_backward(const SubbandImageParams& params, const CudaTarget& target) {
  return run<true>(params, target);
}

}  // namespace deltafast::cuda
