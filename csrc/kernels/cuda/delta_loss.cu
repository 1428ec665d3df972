// CUDA kernels of a training step of E and D, in four launches: embed (every frame through the
// large first layers, and what the loss needs of D's last layer), pairs (delta_pairs.cu), collect
// (sums over the blocks) and weights (delta_weights.cu).

#include "kernels/cuda/delta_step.cuh"

namespace deltafast::cuda {
namespace {

constexpr int kEmbedRows = 16;     // frames of a block
constexpr int kEmbedColumns = 64;  // components in shared memory at a time

// Task k < kFrameTables fills table k; the last one computes W_output W_output^T and W_output bias.
constexpr int kEmbedTasks = kFrameTables + 1;

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) embed_kernel(const Params p) {
  __shared__ float left[kEmbedRows][kEmbedColumns];
  __shared__ float right[kEmbedColumns][kWarp + 1];
  __shared__ float noise[(kEmbedRows / 2 + 2) * kEmbedColumns];
  constexpr int kRows = kEmbedRows / kWarps;
  const Workspace w = workspace(p);
  const DeltaLayout at = delta_layout(p.sizes);
  const int64_t inputs = p.sizes.inputs, width = p.sizes.width;
  const int64_t slot = blockIdx.y / kEmbedTasks;
  const int task = blockIdx.y % kEmbedTasks;
  const bool fixed = task == kFrameTables;
  const int frames = static_cast<int>(p.frames);
  const int rows = static_cast<int>(fixed ? width + 1 : p.pairs * p.frames);
  const bool transposed = task >= kTargetA;  // the right side is W_output^T
  const int64_t* side = task == kLatentB || task == kTargetB ? p.second : p.first;
  const int stream = task == kSource || task == kTarget ? kEncoderStream : kDecoderStream;
  const float strength = transposed                 ? 0.0f
                         : stream == kEncoderStream ? p.noise_encoder
                                                    : p.noise_decoder;
  const float* output = p.weights + at.decoder_output_weight + slot * width * inputs;
  const float* output_bias = p.weights + at.decoder_output_bias + slot * inputs;
  const float* weight = p.weights + slot * inputs * width +
                        (task == kSource   ? at.source_weight
                         : task == kTarget ? at.target_weight
                                           : at.latent_weight);
  const float* bias = nullptr;
  if (task == kSource) bias = p.weights + at.source_bias + slot * width;
  if (task == kLatentA || task == kLatentB) bias = p.weights + at.latent_bias + slot * width;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  for (int row0 = blockIdx.x * kEmbedRows; row0 < rows; row0 += gridDim.x * kEmbedRows) {
    const int pair0 = row0 / frames;
    const int last = row0 + kEmbedRows < rows ? row0 + kEmbedRows : rows;
    const int pairs = fixed ? 0 : (last - 1) / frames - pair0 + 1;
    for (int64_t h0 = 0; h0 < width; h0 += kWarp) {
      float sums[kRows] = {};
      for (int64_t c0 = 0; c0 < inputs; c0 += kEmbedColumns) {
        const int count =
            static_cast<int>(inputs - c0 < kEmbedColumns ? inputs - c0 : kEmbedColumns);
        __syncthreads();
        if (strength != 0.0f) {
          fill_noise(p, stream, pair0, pairs, slot * inputs + c0, count, noise);
        }
        for (int i = threadIdx.x; i < kEmbedColumns * kWarp; i += kThreads) {
          // W_output is read along its rows, the other weights along theirs.
          const int c = transposed ? i % kEmbedColumns : i / kWarp;
          const int64_t h = h0 + (transposed ? i / kEmbedColumns : i % kWarp);
          float value = 0.0f;
          if (c < count && h < width) {
            value =
                __ldg(transposed ? output + h * inputs + c0 + c : weight + (c0 + c) * width + h);
          }
          right[c][h - h0] = value;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < kEmbedRows * kEmbedColumns; i += kThreads) {
          const int r = i / kEmbedColumns, c = i % kEmbedColumns;
          const int row = row0 + r;
          float value = 0.0f;
          if (row < rows && c < count) {
            if (fixed) {
              value = __ldg((row < width ? output + row * inputs : output_bias) + c0 + c);
            } else {
              const int pair = row / frames;
              value = component<T>(p, slot, side[pair], row - pair * frames, c0 + c);
              if (strength != 0.0f) value += strength * noise[(pair - pair0) * count + c];
            }
          }
          left[r][c] = value;
        }
        __syncthreads();
        for (int c = 0; c < count; ++c) {
#pragma unroll
          for (int r = 0; r < kRows; ++r) sums[r] += left[warp * kRows + r][c] * right[c][lane];
        }
      }
      const int64_t h = h0 + lane;
      if (h >= width) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int row = row0 + warp * kRows + r;
        if (row >= rows) continue;
        float* to = fixed ? w.squares + (slot * (width + 1) + row) * width
                          : table_at(p, w, task, slot, row);
        to[h] = sums[r] + (bias ? __ldg(bias + h) : 0.0f);
      }
    }
    if (fixed && last == rows && warp == 0) {
      float square = 0.0f;
      for (int64_t c = lane; c < inputs; c += kWarp) {
        const float b = __ldg(output_bias + c);
        square += b * b;
      }
      for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        square += __shfl_down_sync(0xffffffffu, square, offset);
      }
      if (lane == 0) w.bias_square[slot] = square;
    }
  }
}

}  // namespace

cudaError_t delta_embed(const DeltaLossParams<float>& p, const CudaTarget& target) {
  const DeltaSizes& s = p.sizes;
  const int64_t frames = p.pairs * p.frames, rows = frames > s.width + 1 ? frames : s.width + 1;
  const dim3 grid(static_cast<unsigned>((rows + kEmbedRows - 1) / kEmbedRows),
                  static_cast<unsigned>(s.slots * kEmbedTasks));
  return with_element(target.element, [&](auto zero) {
    embed_kernel<decltype(zero)>
        <<<grid, kThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(p);
    return cudaGetLastError();
  });
}

int64_t delta_loss_workspace(const DeltaLossParams<float>& p, const CudaTarget&) {
  return workspace(p).floats;
}

int delta_loss(const DeltaLossParams<float>& p, const CudaTarget& target) {
  cudaError_t error = delta_embed(p, target);
  if (error == cudaSuccess) error = delta_pairs(p, target);
  if (error == cudaSuccess) error = delta_collect(p, target);
  if (error == cudaSuccess) error = delta_weights(p, target);
  return error;
}

}  // namespace deltafast::cuda
