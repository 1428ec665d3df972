// CUDA kernel of upfirdn2d: one thread gathers one output pixel (NCHW), or one pack of channels of
// it (NHWC), through the few taps that meet an input sample. The filter lies in shared memory as
// correlation taps, gain included.

#include "kernels/cuda/element.cuh"
#include "kernels/shared/fir.h"
#include "kernels/upfirdn2d.h"

namespace deltafast::cuda {
namespace {

constexpr int64_t kMaxTaps = 12288;  // 48 KiB of shared memory, which every device has

__device__ void load_taps(const Upfirdn2dCudaParams& p, float* taps) {
  const int width = static_cast<int>(p.shape.taps_w);
  const int height = static_cast<int>(p.shape.taps_h);
  for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < width * height;
       i += blockDim.x * blockDim.y) {
    const int ty = p.flip_filter ? i / width : height - 1 - i / width;
    const int tx = p.flip_filter ? i % width : width - 1 - i % width;
    taps[i] = (p.separable ? p.f[ty] * p.f[tx] : p.f[ty * width + tx]) * p.gain;
  }
  __syncthreads();
}

// Up and Down are the factors where they are known at compile time, else 0. Count is the channels a
// thread handles.
template <typename T, int Up, int Down, int Count>
__global__ void __launch_bounds__(256, 4) upfirdn2d_kernel(const Upfirdn2dCudaParams p) {
  extern __shared__ float taps[];
  load_taps(p, taps);
  const Upfirdn2dShape& s = p.shape;
  const int up = Up ? Up : static_cast<int>(s.up);
  const int down = Down ? Down : static_cast<int>(s.down);
  const int in_h = static_cast<int>(s.in_h), in_w = static_cast<int>(s.in_w);
  const int out_h = static_cast<int>(s.out_h);
  const int taps_h = static_cast<int>(s.taps_h), taps_w = static_cast<int>(s.taps_w);
  const int pad_x = static_cast<int>(s.pad_x0), pad_y = static_cast<int>(s.pad_y0);
  const int packs = static_cast<int>(s.inner / Count);
  const int64_t rows = s.planes * s.out_h;
  const int64_t columns = s.out_w * packs;
  for (int64_t row = int64_t(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += int64_t(gridDim.y) * blockDim.y) {
    const int64_t plane = row / out_h;
    const int oy = static_cast<int>(row - plane * out_h);
    const int iy0 = fir_first_input<int>(oy, up, down, pad_y);
    const int ty0 = fir_first_tap<int>(oy, up, down, pad_y, iy0);
    for (int64_t column = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; column < columns;
         column += int64_t(gridDim.x) * blockDim.x) {
      const int ox = static_cast<int>(column / packs);
      const int channel = static_cast<int>(column - int64_t(ox) * packs) * Count;
      const int ix0 = fir_first_input<int>(ox, up, down, pad_x);
      const int tx0 = fir_first_tap<int>(ox, up, down, pad_x, ix0);
      float sums[Count] = {};
      for (int ty = ty0, iy = iy0; ty < taps_h; ty += up, ++iy) {
        if (iy < 0 || iy >= in_h) continue;
        const int64_t line = (plane * in_h + iy) * in_w;
        for (int tx = tx0, ix = ix0; tx < taps_w; tx += up, ++ix) {
          if (ix < 0 || ix >= in_w) continue;
          const float tap = taps[ty * taps_w + tx];
          const Pack<T, Count> in = load_pack<T, Count>(p.x, (line + ix) * s.inner + channel);
#pragma unroll
          for (int j = 0; j < Count; ++j) sums[j] += tap * to_float(in.at[j]);
        }
      }
      Pack<T, Count> out;
#pragma unroll
      for (int j = 0; j < Count; ++j) out.at[j] = from_float<T>(sums[j]);
      store_pack<T, Count>(p.y, (row * s.out_w + ox) * s.inner + channel, out);
    }
  }
}

template <typename T, int Count>
cudaError_t launch(const Upfirdn2dCudaParams& p, cudaStream_t stream) {
  const Upfirdn2dShape& s = p.shape;
  const Launch shape = launch_shape(s.planes * s.out_h, s.out_w * (s.inner / Count));
  const size_t shared = static_cast<size_t>(s.taps_h * s.taps_w) * sizeof(float);
  if (s.up == 1 && s.down == 1) {
    upfirdn2d_kernel<T, 1, 1, Count><<<shape.grid, shape.block, shared, stream>>>(p);
  } else if (s.up == 2 && s.down == 1) {
    upfirdn2d_kernel<T, 2, 1, Count><<<shape.grid, shape.block, shared, stream>>>(p);
  } else if (s.up == 1 && s.down == 2) {
    upfirdn2d_kernel<T, 1, 2, Count><<<shape.grid, shape.block, shared, stream>>>(p);
  } else {
    upfirdn2d_kernel<T, 0, 0, Count><<<shape.grid, shape.block, shared, stream>>>(p);
  }
  return cudaGetLastError();
}

// Index arithmetic inside one image is 32-bit.
bool fits_int32(const Upfirdn2dShape& s) {
  constexpr int64_t kLimit = int64_t(1) << 30;
  const int64_t extents[] = {s.in_h * s.up + s.taps_h, s.in_w * s.up + s.taps_w,
                             s.out_h * s.down + s.taps_h, s.out_w * s.down + s.taps_w, s.inner};
  for (const int64_t extent : extents) {
    if (extent > kLimit) return false;
  }
  return s.pad_x0 > -kLimit && s.pad_x0 < kLimit && s.pad_y0 > -kLimit && s.pad_y0 < kLimit;
}

}  // namespace

int upfirdn2d(const Upfirdn2dCudaParams& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  if (p.shape.taps_h * p.shape.taps_w > kMaxTaps || !fits_int32(p.shape))
    return cudaErrorInvalidValue;
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kPack = 16 / sizeof(T);
    const bool packed = p.shape.inner % kPack == 0 && is_aligned(p.x, 16) && is_aligned(p.y, 16);
    return packed ? launch<T, kPack>(p, stream) : launch<T, 1>(p, stream);
  });
}

}  // namespace deltafast::cuda
