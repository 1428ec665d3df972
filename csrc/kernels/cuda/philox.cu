// CUDA kernels of Philox: a thread for each counter.

#include <cuda_runtime.h>

#include "kernels/cuda/launch.cuh"
#include "kernels/philox.h"
#include "kernels/shared/philox.h"

namespace deltafast::cuda {
namespace {

constexpr int kThreads = 256;

unsigned blocks_of(int64_t threads) { return blocks_for((threads + kThreads - 1) / kThreads); }

__global__ void __launch_bounds__(kThreads) words_kernel(const PhiloxParams p) {
  const auto key0 = static_cast<uint32_t>(p.keys[0]), key1 = static_cast<uint32_t>(p.keys[1]);
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < p.count;
       i += int64_t(gridDim.x) * kThreads) {
    Philox counter;
#pragma unroll
    for (int w = 0; w < 4; ++w) counter.at[w] = static_cast<uint32_t>(p.counters[4 * i + w]);
    const Philox words = philox4x32(counter, key0, key1);
#pragma unroll
    for (int w = 0; w < 4; ++w) p.words[4 * i + w] = words.at[w];
  }
}

__global__ void __launch_bounds__(kThreads) normal_kernel(const NormalParams p) {
  const int64_t blocks = (p.elements + 3) / 4;
  const int64_t seed = *p.key.seed, step = *p.key.step, first = *p.key.first_sample;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < p.samples * blocks;
       i += int64_t(gridDim.x) * kThreads) {
    const int64_t sample = i / blocks, block = i % blocks;
    const NoiseSource source = noise_source(seed, step, first + sample, p.stream);
    const Philox words = noise_bits(source, static_cast<uint32_t>(block));
    const NormalPair even = normals_of(words.at[0], words.at[1]);
    const NormalPair odd = normals_of(words.at[2], words.at[3]);
    const float values[4] = {even.at[0], even.at[1], odd.at[0], odd.at[1]};
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) {
      const int64_t element = block * 4 + lane;
      if (element < p.elements) p.y[sample * p.elements + element] = values[lane];
    }
  }
}

}  // namespace

int philox4x32(const PhiloxParams& p, const CudaTarget& target) {
  words_kernel<<<blocks_of(p.count), kThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(p);
  return cudaGetLastError();
}

int philox_normal(const NormalParams& p, const CudaTarget& target) {
  const int64_t threads = p.samples * ((p.elements + 3) / 4);
  normal_kernel<<<blocks_of(threads), kThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(p);
  return cudaGetLastError();
}

}  // namespace deltafast::cuda
