// CUDA kernels of the edit as a flow: all steps in one launch. A block takes one slot of a band of
// paths, whose coordinates stay in shared memory; lanes run along the components of a layer, a
// thread holds a few rows of one component. The gradient follows a band's paths once more, a few
// steps' beginnings in shared memory at a time, from the last steps to the first.

#include "kernels/cuda/delta_rows.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/delta_flow.h"

namespace deltafast::cuda {
namespace {

using Params = DeltaFlowParams<float>;

constexpr int kMaxKept = 8;

// What a block knows of its band. All buffers are [Rows * kWarps, ld], zero behind the width; rows
// behind the band's own have no start and no direction, and steps of no length.
template <int Rows>
struct Band {
  static constexpr int kRows = Rows * kWarps;
  const Params& p;
  int slot;
  int64_t first;
  int rows;
  int width;
  int ld;
  float* start;
  float* code;
  float* active;
  FlowPath<float>* paths;  // [kRows]

  __device__ int64_t at(int row, int h) const {
    return (int64_t(slot) * p.samples + first + row) * width + h;
  }
};

// Calls `body` with every row and component of a buffer that this thread owns: of its own warp's
// rows.
template <int Rows, typename Body>
__device__ __forceinline__ void each(const Band<Rows>& b, Body body) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int h = lane; h < b.ld; h += kWarp) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) body(warp * Rows + r, h, (warp * Rows + r) * b.ld + h);
  }
}

// Calls `body` likewise, with the row's product of `left` with a column of `matrix`.
template <int Rows, typename Body>
__device__ __forceinline__ void each_product(const Band<Rows>& b, const float* left,
                                             const float* matrix, Body body) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int h = lane; h < b.ld; h += kWarp) {
    float sums[Rows] = {};
    if (h < b.width) {
      accumulate<Rows>(sums, left + warp * Rows * b.ld, b.ld, b.width, matrix + h, b.width);
    }
#pragma unroll
    for (int r = 0; r < Rows; ++r) body((warp * Rows + r) * b.ld + h, h, sums[r]);
  }
}

template <int Rows>
__device__ __forceinline__ const float* matrix_at(const Band<Rows>& b, const float* matrices,
                                                  int layer) {
  return matrices + (int64_t(layer) * b.p.slots + b.slot) * b.width * b.width;
}

// Reads the band; returns how many steps its longest path takes. The same for all threads.
template <int Rows>
__device__ __forceinline__ int begin_band(Band<Rows>& b, int64_t band) {
  b.first = band * b.kRows;
  b.rows = static_cast<int>(b.p.samples - b.first < b.kRows ? b.p.samples - b.first : b.kRows);
  each(b, [&](int row, int h, int i) {
    const bool there = row < b.rows && h < b.width;
    b.start[i] = there ? b.p.start[b.at(row, h)] : 0.0f;
    const int64_t from = b.p.one_direction ? int64_t(b.slot) * b.width + h : b.at(row, h);
    b.code[i] = there ? __ldg(b.p.direction + from) : 0.0f;
  });
  if (threadIdx.x < b.kRows) {
    const int row = threadIdx.x;
    const float alpha = row < b.rows ? __ldg(b.p.alpha + b.first + row) : 0.0f;
    b.paths[row] = flow_path(alpha, b.p.steps);
  }
  __syncthreads();
  int most = 0;
  for (int row = 0; row < b.kRows; ++row) {
    const int count = b.paths[row].full + 1;
    most = count > most ? count : most;
  }
  return most;
}

// out = the rate at z. `inputs` [layers, kRows, ld] keeps what each layer's activation read, where
// it is not null. `out` may be z.
template <int Rows>
__device__ __forceinline__ void flow_rate(const Band<Rows>& b, const float* z, float* inputs,
                                          float* spare, float* out) {
  const int size = b.kRows * b.ld, layers = static_cast<int>(b.p.layers);
  const float* below = z;
  for (int k = 0; k < layers; ++k) {
    float* above = below == b.active ? spare : b.active;
    const float* bias =
        k > 0 ? b.p.bias + (int64_t(k - 1) * b.p.slots + b.slot) * b.width : nullptr;
    each_product(b, below, matrix_at(b, b.p.mixing, k), [&](int i, int h, float sum) {
      const bool there = h < b.width;
      const float x = sum + (k == 0 ? b.start[i] : there ? __ldg(bias + h) : 0.0f);
      if (inputs) inputs[k * size + i] = x;
      above[i] = there ? flow_activation(x) : 0.0f;
    });
    __syncthreads();
    below = above;
  }
  each(b, [&](int, int, int i) { out[i] = below[i] * b.code[i]; });
  __syncthreads();
}

// One step `k` of all paths: z moves on. `at` and `sum` are scratch.
template <int Rows>
__device__ __forceinline__ void advance(const Band<Rows>& b, int k, float* z, float* at, float* sum,
                                        float* spare) {
  each(b, [&](int, int, int i) { at[i] = z[i]; });
  __syncthreads();
  for (int s = 0; s < 4; ++s) {
    flow_rate(b, at, nullptr, spare, at);
    const float weight = s == 0 || s == 3 ? 1.0f : 2.0f, node = s == 2 ? 1.0f : 0.5f;
    each(b, [&](int row, int, int i) {
      const float rate = at[i], step = flow_step(b.paths[row], k);
      sum[i] = s == 0 ? rate : sum[i] + weight * rate;
      if (s < 3) at[i] = z[i] + node * step * rate;
      if (s == 3) z[i] += step / 6.0f * sum[i];
    });
    __syncthreads();
  }
}

template <int Rows>
__global__ void __launch_bounds__(kThreads, 2) flow_kernel(const Params p) {
  extern __shared__ __align__(16) float shared[];
  const int ld = padded(p.width);
  const int size = Rows * kWarps * ld;
  Band<Rows> b{p,
               static_cast<int>(blockIdx.y),
               0,
               0,
               static_cast<int>(p.width),
               ld,
               shared,
               shared + size,
               shared + 2 * size,
               reinterpret_cast<FlowPath<float>*>(shared + 7 * size)};
  float* z = shared + 3 * size;
  float* at = z + size;
  float* sum = at + size;
  float* spare = sum + size;
  for (int64_t band = blockIdx.x; band * b.kRows < p.samples; band += gridDim.x) {
    const int steps = begin_band(b, band);
    each(b, [&](int, int, int i) { z[i] = 0.0f; });
    for (int k = 0; k < steps; ++k) advance(b, k, z, at, sum, spare);
    each(b, [&](int row, int h, int i) {
      if (row < b.rows && h < b.width) p.result[b.at(row, h)] = z[i];
    });
    __syncthreads();
  }
}

// The way back through one evaluation of the rate at z: `grad`, the gradient for it, becomes that
// for z.
__device__ __forceinline__ void flow_rate_backward(const Band<1>& b, const float* z,
                                                   const float* inputs, float* grad, float* spare,
                                                   float* grad_start, float* grad_code,
                                                   float* sums) {
  const int size = b.kRows * b.ld, layers = static_cast<int>(b.p.layers);
  const int matrix = b.width * b.width;
  const float* last = inputs + (layers - 1) * size;
  each(b, [&](int, int, int i) {
    grad_code[i] += grad[i] * flow_activation(last[i]);
    grad[i] *= b.code[i];
  });
  for (int k = layers - 1; k >= 0; --k) {
    each(b, [&](int, int h, int i) {
      grad[i] *= flow_slope(inputs[k * size + i]);
      if (k == 0) grad_start[i] += grad[i];
      if (k > 0) b.active[i] = h < b.width ? flow_activation(inputs[(k - 1) * size + i]) : 0.0f;
    });
    __syncthreads();
    const float* below = k == 0 ? z : b.active;
    for (int e = threadIdx.x; e < matrix; e += kThreads) {  // each element has one thread
      const int i = e / b.width, j = e % b.width;
      float sum = 0.0f;
      for (int r = 0; r < b.kRows; ++r) sum += below[r * b.ld + i] * grad[r * b.ld + j];
      sums[k * matrix + e] += sum;
    }
    for (int j = threadIdx.x; k > 0 && j < b.width; j += kThreads) {
      float sum = 0.0f;
      for (int r = 0; r < b.kRows; ++r) sum += grad[r * b.ld + j];
      sums[layers * matrix + (k - 1) * b.width + j] += sum;
    }
    each_product(b, grad, matrix_at(b, b.p.transposed, k),
                 [&](int i, int, float sum) { spare[i] = sum; });
    __syncthreads();
    each(b, [&](int, int, int i) { grad[i] = spare[i]; });
    __syncthreads();
  }
}

// Buffers of the backward kernel: start, code, active, spare, z, sum, grad, total, two gradients of
// stages, those of start and code, the stages' places (but the first), their rates and inputs, and
// `kept` beginnings.
__host__ __device__ __forceinline__ int backward_buffers(const Params& p, int kept) {
  return 12 + 3 + 4 + 4 * static_cast<int>(p.layers) + kept;
}

__global__ void __launch_bounds__(kThreads) flow_backward_kernel(const Params p, int max_kept) {
  extern __shared__ __align__(16) float shared[];
  const int ld = padded(p.width);
  const int size = kWarps * ld;
  const int layers = static_cast<int>(p.layers);
  const int count = static_cast<int>(flow_sums(p));
  float* sums = p.sums + (int64_t(blockIdx.x) * p.slots + blockIdx.y) * count;  // of this block
  Band<1> b{p,
            static_cast<int>(blockIdx.y),
            0,
            0,
            static_cast<int>(p.width),
            ld,
            shared,
            shared + size,
            shared + 2 * size,
            reinterpret_cast<FlowPath<float>*>(shared + backward_buffers(p, max_kept) * size)};
  float* spare = shared + 3 * size;
  float* z = spare + size;
  float* sum = z + size;
  float* grad = sum + size;
  float* total = grad + size;
  float* stage = total + size;  // two
  float* grad_start = stage + 2 * size;
  float* grad_code = grad_start + size;
  float* places = grad_code + size;  // three
  float* rates = places + 3 * size;  // four
  float* inputs = rates + 4 * size;  // four times layers
  float* kept = inputs + 4 * layers * size;
  for (int e = threadIdx.x; e < count; e += kThreads) sums[e] = 0.0f;
  __syncthreads();

  for (int64_t band = blockIdx.x; band * b.kRows < p.samples; band += gridDim.x) {
    const int steps = begin_band(b, band);
    float slope = 0.0f;  // this thread's part of the gradient for alpha, of its warp's only row
    each(b, [&](int row, int h, int i) {
      grad[i] = row < b.rows && h < b.width ? p.grad[b.at(row, h)] : 0.0f;
      grad_start[i] = 0.0f;
      grad_code[i] = 0.0f;
    });
    for (int last = steps; last > 0; last = (last - 1) / max_kept * max_kept) {
      const int begin = (last - 1) / max_kept * max_kept;
      each(b, [&](int, int, int i) { z[i] = 0.0f; });
      __syncthreads();
      for (int k = 0; k < last; ++k) {
        if (k >= begin) {
          each(b, [&](int, int, int i) { kept[(k - begin) * size + i] = z[i]; });
          __syncthreads();
        }
        if (k + 1 < last) advance(b, k, z, places, sum, spare);
      }
      for (int k = last - 1; k >= begin; --k) {
        const float* from = kept + (k - begin) * size;
        for (int s = 0; s < 4; ++s) {
          float* place = places + (s - 1) * size;
          if (s > 0) {
            const float node = s == 3 ? 1.0f : 0.5f;
            each(b, [&](int row, int, int i) {
              const float step = flow_step(b.paths[row], k);
              place[i] = from[i] + node * step * rates[(s - 1) * size + i];
            });
            __syncthreads();
          }
          flow_rate(b, s == 0 ? from : place, inputs + s * layers * size, spare, rates + s * size);
        }
        each(b, [&](int, int, int i) { total[i] = grad[i]; });
        for (int s = 3; s >= 0; --s) {
          float* now = stage + s % 2 * size;
          const float* later = stage + (s + 1) % 2 * size;
          const float weight = (s == 0 || s == 3 ? 1.0f : 2.0f) / 6.0f;
          const float node = s == 3 ? 0.0f : s == 2 ? 1.0f : 0.5f;  // of the next stage
          each(b, [&](int row, int, int i) {
            const float whole = weight * grad[i] + (s < 3 ? node * later[i] : 0.0f);
            if (k == b.paths[row].full) slope += whole * rates[s * size + i];
            now[i] = flow_step(b.paths[row], k) * whole;
          });
          __syncthreads();
          flow_rate_backward(b, s == 0 ? from : places + (s - 1) * size, inputs + s * layers * size,
                             now, spare, grad_start, grad_code, sums);
          each(b, [&](int, int, int i) { total[i] += now[i]; });
        }
        each(b, [&](int, int, int i) { grad[i] = total[i]; });
        __syncthreads();
      }
    }
    each(b, [&](int row, int h, int i) {
      if (row < b.rows && h < b.width) {
        p.grad_start[b.at(row, h)] = grad_start[i];
        p.grad_direction[b.at(row, h)] = grad_code[i];
      }
    });
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      slope += __shfl_down_sync(0xffffffffu, slope, offset);
    }
    const int row = threadIdx.x / kWarp;
    if (threadIdx.x % kWarp == 0 && row < b.rows) {
      p.grad_alpha[int64_t(b.slot) * p.samples + b.first + row] = slope;
    }
    __syncthreads();
  }
}

size_t forward_bytes(const Params& p, int rows) {
  const size_t size = sizeof(float) * rows * kWarps * padded(p.width);
  return 7 * size + sizeof(FlowPath<float>) * rows * kWarps;
}

size_t backward_bytes(const Params& p, int kept) {
  return sizeof(float) * backward_buffers(p, kept) * kWarps * padded(p.width) +
         sizeof(FlowPath<float>) * kWarps;
}

// How many beginnings of steps fit; 0 where not even the rest does.
int max_kept(const Params& p) {
  int kept = kMaxKept;
  while (kept > 0 && backward_bytes(p, kept) > kMaxShared) --kept;
  return kept;
}

template <int Rows>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  const int64_t bands = (p.samples + Rows * kWarps - 1) / (Rows * kWarps);
  const dim3 grid(blocks_for(bands), static_cast<unsigned>(p.slots));
  flow_kernel<Rows><<<grid, kThreads, forward_bytes(p, Rows), stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

bool delta_flow_fits(const DeltaFlowParams<float>& p, bool backward, const CudaTarget&) {
  const bool fits = backward ? max_kept(p) > 0 : forward_bytes(p, 1) <= kMaxShared;
  return fits && p.slots <= 65535;
}

int delta_flow(const DeltaFlowParams<float>& p, const CudaTarget& target) {
  const auto stream = static_cast<cudaStream_t>(target.stream);
  if (p.samples > 1024 && forward_bytes(p, 4) <= kMaxShared) return launch<4>(p, stream);
  return launch<1>(p, stream);
}

int delta_flow_backward(const DeltaFlowParams<float>& p, const CudaTarget& target) {
  const dim3 grid(static_cast<unsigned>(kFlowRuns), static_cast<unsigned>(p.slots));
  const int kept = max_kept(p);
  flow_backward_kernel<<<grid, kThreads, backward_bytes(p, kept),
                         static_cast<cudaStream_t>(target.stream)>>>(p, kept);
  return cudaGetLastError();
}

}  // namespace deltafast::cuda
