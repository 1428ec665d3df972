// CUDA kernels of the filter with its epilogue, NHWC, forward; the gradient is made of the kernels
// of the FIR filter and of the epilogue.
//
// The generator's filter has four taps: a block takes a tile of output pixels and up to 128 bytes
// of channels of each, and copies the input pixels they see, 16 bytes per thread, to shared memory:
// every input is read from memory once, but for the tile's margin of three pixels. Each thread then
// walks down one column of the tile: four horizontal products per input row, and a ring of four
// such rows for the vertical ones. Other filters gather every output from memory.

#include "kernels/cuda/element.cuh"
#include "kernels/filtered_epilogue.h"
#include "kernels/shared/activation.h"

namespace deltafast::cuda {
namespace {

using Params = FilteredEpilogueParams<float>;

constexpr int kTaps = 4;
constexpr int kTileRows = 8;
constexpr int kTileThreads = 128;
constexpr int kMargin = kTaps - 1;

// What a thread needs of the channels that it works on.
template <int Count>
struct Coefficients {
  float demod[Count], bias[Count], style[Count];

  __device__ __forceinline__ Coefficients(const Params& p, int64_t sample, int64_t channel) {
    const EpilogueParams<float>& e = p.epilogue;
    const int64_t row = sample * e.channels + channel;
#pragma unroll
    for (int j = 0; j < Count; ++j) {
      demod[j] = (e.demod ? __ldg(e.demod + row + j) : 1.0f) * p.gain;
      bias[j] = e.bias ? __ldg(e.bias + channel + j) : 0.0f;
      style[j] = e.style ? __ldg(e.style + row + j) : 1.0f;
    }
  }
};

template <typename T, int Count>
__device__ __forceinline__ void finish(const Params& p, const Coefficients<Count>& k,
                                       const float* sums, int64_t sample, int64_t pixel,
                                       int64_t channel) {
  const EpilogueParams<float>& e = p.epilogue;
  float shift = 0.0f;
  if (e.noise) {
    const float strength = e.strength ? __ldg(e.strength) : 1.0f;
    shift = strength * __ldg(e.noise + sample * e.noise_stride + pixel);
  }
  Pack<T, Count> out;
#pragma unroll
  for (int j = 0; j < Count; ++j) {
    const float u = k.demod[j] * sums[j] + shift + k.bias[j];
    out.at[j] = from_float<T>(activate(e.activation, u) * k.style[j]);
  }
  store_pack<T, Count>(e.y, (sample * e.pixels + pixel) * e.channels + channel, out);
}

// `lanes` packs of channels of one pixel lie side by side; a tile is kTileThreads / lanes wide.
template <typename T, int Count>
__global__ void __launch_bounds__(kTileThreads, 3) tile_kernel(const Params p, int lanes) {
  extern __shared__ __align__(16) unsigned char shared[];
  auto* tile = reinterpret_cast<Pack<T, Count>*>(shared);
  const EpilogueParams<float>& e = p.epilogue;
  const int columns = kTileThreads / lanes;
  const int width = columns + kMargin;
  const int lane = threadIdx.x % lanes;
  const int column = threadIdx.x / lanes;
  const int tiles_w = static_cast<int>((p.out_w + columns - 1) / columns);
  const int first_y = static_cast<int>(blockIdx.x) / tiles_w * kTileRows;
  const int first_x = static_cast<int>(blockIdx.x) % tiles_w * columns;
  const int64_t channel = (int64_t(blockIdx.y) * lanes + lane) * Count;
  const bool exists = channel < e.channels;
  float f[kTaps];
#pragma unroll
  for (int t = 0; t < kTaps; ++t) f[t] = __ldg(p.filter + kTaps - 1 - t);

  for (int64_t sample = blockIdx.z; sample < e.batch; sample += gridDim.z) {
    for (int i = column; i < (kTileRows + kMargin) * width; i += columns) {
      const int64_t y = first_y + i / width - p.pad_y;
      const int64_t x = first_x + i % width - p.pad_x;
      Pack<T, Count> in;
#pragma unroll
      for (int j = 0; j < Count; ++j) in.at[j] = from_float<T>(0.0f);
      if (exists && y >= 0 && y < p.in_h && x >= 0 && x < p.in_w) {
        in = load_pack<T, Count>(e.x, ((sample * p.in_h + y) * p.in_w + x) * e.channels + channel);
      }
      tile[i * lanes + lane] = in;
    }
    __syncthreads();
    const int ox = first_x + column;
    if (exists && ox < p.out_w) {
      const Coefficients<Count> k(p, sample, channel);
      float ring[kTaps][Count];  // the last rows, filtered horizontally
#pragma unroll
      for (int row = 0; row < kTileRows + kMargin; ++row) {
#pragma unroll
        for (int j = 0; j < Count; ++j) ring[row % kTaps][j] = 0.0f;
#pragma unroll
        for (int t = 0; t < kTaps; ++t) {
          const Pack<T, Count> in = tile[(row * width + column + t) * lanes + lane];
#pragma unroll
          for (int j = 0; j < Count; ++j) ring[row % kTaps][j] += f[t] * to_float(in.at[j]);
        }
        const int oy = first_y + row - kMargin;
        if (row >= kMargin && oy < p.out_h) {
          float sums[Count] = {};
#pragma unroll
          for (int t = 0; t < kTaps; ++t) {
#pragma unroll
            for (int j = 0; j < Count; ++j) {
              sums[j] += f[t] * ring[(row - kMargin + t) % kTaps][j];
            }
          }
          finish<T, Count>(p, k, sums, sample, int64_t(oy) * p.out_w + ox, channel);
        }
      }
    }
    __syncthreads();
  }
}

// Any number of taps: one thread gathers one pack of channels of one output pixel.
template <typename T, int Count>
__global__ void __launch_bounds__(256, 3) gather_kernel(const Params p) {
  const EpilogueParams<float>& e = p.epilogue;
  const int64_t packs = e.channels / Count;
  const int64_t columns = p.out_w * packs;
  const int64_t rows = e.batch * p.out_h;
  for (int64_t row = int64_t(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += int64_t(gridDim.y) * blockDim.y) {
    const int64_t sample = row / p.out_h, oy = row % p.out_h;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < columns;
         i += int64_t(gridDim.x) * blockDim.x) {
      const int64_t ox = i / packs, channel = i % packs * Count;
      float sums[Count] = {};
      for (int ty = 0; ty < p.taps; ++ty) {
        const int64_t y = oy + ty - p.pad_y;
        if (y < 0 || y >= p.in_h) continue;
        for (int tx = 0; tx < p.taps; ++tx) {
          const int64_t x = ox + tx - p.pad_x;
          if (x < 0 || x >= p.in_w) continue;
          const float tap = __ldg(p.filter + p.taps - 1 - ty) * __ldg(p.filter + p.taps - 1 - tx);
          const Pack<T, Count> in =
              load_pack<T, Count>(e.x, ((sample * p.in_h + y) * p.in_w + x) * e.channels + channel);
#pragma unroll
          for (int j = 0; j < Count; ++j) sums[j] += tap * to_float(in.at[j]);
        }
      }
      const Coefficients<Count> k(p, sample, channel);
      finish<T, Count>(p, k, sums, sample, oy * p.out_w + ox, channel);
    }
  }
}

template <typename T, int Count>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  const EpilogueParams<float>& e = p.epilogue;
  const int64_t packs = e.channels / Count;
  if (p.taps != kTaps) {
    const Launch shape = launch_shape(e.batch * p.out_h, p.out_w * packs);
    gather_kernel<T, Count><<<shape.grid, shape.block, 0, stream>>>(p);
    return cudaGetLastError();
  }
  constexpr int kMaxLanes =
      128 / (int(sizeof(T)) * Count) < 32 ? 128 / (int(sizeof(T)) * Count) : 32;
  int lanes = 1;
  while (lanes < kMaxLanes && lanes < packs) lanes *= 2;
  const int64_t columns = kTileThreads / lanes;
  const int64_t tiles =
      ((p.out_h + kTileRows - 1) / kTileRows) * ((p.out_w + columns - 1) / columns);
  const int64_t slices = (packs + lanes - 1) / lanes;
  if (tiles > (int64_t(1) << 30) || slices > 65535) return cudaErrorInvalidValue;
  const auto samples = blocks_for(e.batch, kMaxRows);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(slices), samples);
  const size_t shared =
      sizeof(Pack<T, Count>) * lanes * (kTileRows + kMargin) * (columns + kMargin);
  tile_kernel<T, Count><<<grid, kTileThreads, shared, stream>>>(p, lanes);
  return cudaGetLastError();
}

}  // namespace

int filtered_epilogue(const FilteredEpilogueParams<float>& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  return with_element(target.element, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kPack = 16 / sizeof(T);
    const EpilogueParams<float>& e = p.epilogue;
    const bool packed = e.channels % kPack == 0 && is_aligned(e.x, 16) && is_aligned(e.y, 16);
    return packed ? launch<T, kPack>(p, stream) : launch<T, 1>(p, stream);
  });
}

}  // namespace deltafast::cuda
