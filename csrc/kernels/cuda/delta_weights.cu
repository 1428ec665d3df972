// The gradients of the four large weights of E and D: products over all frames, whose noise is
// drawn once more.

#include "kernels/cuda/delta_step.cuh"

namespace deltafast::cuda {
namespace {

constexpr int kTile = 32;  // a block's tile of a gradient is kTile x kTile; rows in runs of kTile

enum WeightTask : int {
  kGradSource = kSource,
  kGradTarget = kTarget,
  kGradLatent,
  kGradOutput,
  kWeightTasks
};

// The tile [lines, columns] += sum over rows of left[row][line] right[row][column]: lanes along the
// columns, kTile / kWarps lines a warp.
constexpr int kLines = kTile / kWarps;

__device__ __forceinline__ void add_rows(float (&sums)[kLines], const float (&left)[kTile][kTile],
                                         const float (&right)[kTile][kTile], int rows) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int r = 0; r < rows; ++r) {
    const float value = right[r][lane];
#pragma unroll
    for (int i = 0; i < kLines; ++i) sums[i] += left[r][warp * kLines + i] * value;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    weights_kernel(const Params p, const float bias_scale) {
  __shared__ float inputs_tile[kTile][kTile];  // [row, component]
  __shared__ float table_tile[kTile][kTile];   // [row, hidden unit]
  __shared__ float noise[(kTile / 2 + 2) * kTile];
  const Workspace w = workspace(p);
  const DeltaLayout at = delta_layout(p.sizes);
  const PairSums sums_at = pair_sums(p.sizes);
  const int64_t inputs = p.sizes.inputs, width = p.sizes.width;
  const int64_t slot = blockIdx.y / kWeightTasks;
  const int task = blockIdx.y % kWeightTasks;
  const unsigned tiles = (static_cast<unsigned>(inputs) + kTile - 1) / kTile;
  const int64_t c0 = blockIdx.x % tiles * kTile, h0 = blockIdx.x / tiles * kTile;
  const int columns = static_cast<int>(inputs - c0 < kTile ? inputs - c0 : kTile);
  const int units = static_cast<int>(width - h0 < kTile ? width - h0 : kTile);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const bool output = task == kGradOutput;
  const bool noise_a = task <= kGradTarget;
  const int stream = noise_a ? kEncoderStream : kDecoderStream;
  const float strength = output ? 0.0f : noise_a ? p.noise_encoder : p.noise_decoder;
  const int sides = noise_a ? 1 : 2;
  const int frames = static_cast<int>(p.frames), rows = static_cast<int>(p.pairs * p.frames);
  float sums[kLines] = {};
  for (int s = 0; s < sides; ++s) {
    const int64_t* side = s == 0 ? p.first : p.second;
    int table = task;  // E's: the gradient's task has the number of its table
    if (task == kGradLatent) table = s == 0 ? kLatentA : kLatentB;
    if (output) table = s == 0 ? kTargetA : kTargetB;
    for (int row0 = 0; row0 < rows; row0 += kTile) {
      const int run = rows - row0 < kTile ? rows - row0 : kTile;
      const int pair0 = row0 / frames;
      __syncthreads();
      if (strength != 0.0f) {
        const int pairs = (row0 + run - 1) / frames - pair0 + 1;
        fill_noise(p, stream, pair0, pairs, slot * inputs + c0, columns, noise);
        __syncthreads();
      }
      for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
        const int r = i / kTile, k = i % kTile;
        const int row = row0 + r;
        float x = 0.0f, g = 0.0f;
        if (r < run) {
          const int pair = row / frames;
          if (k < columns) {
            x = component<T>(p, slot, side[pair], row - pair * frames, c0 + k);
            if (strength != 0.0f) x += strength * noise[(pair - pair0) * columns + k];
          }
          if (k < units) g = table_at(p, w, table, slot, row)[h0 + k];
        }
        inputs_tile[r][k] = x;
        table_tile[r][k] = g;
      }
      __syncthreads();
      if (output) {
        add_rows(sums, table_tile, inputs_tile, run);  // lines are hidden units
      } else {
        add_rows(sums, inputs_tile, table_tile, run);  // lines are components
      }
    }
  }
  if (!output) {
    const int64_t offset = task == kGradSource   ? at.source_weight
                           : task == kGradTarget ? at.target_weight
                                                 : at.latent_weight;
    float* to = p.gradients + offset + slot * inputs * width;
    for (int i = 0; i < kLines; ++i) {
      const int64_t c = c0 + warp * kLines + i;
      if (c < inputs && lane < units) to[c * width + h0 + lane] = sums[i];
    }
    return;
  }
  // W's gradient has also (F^T F) W and (sum of F)^T bias.
  const float* total = w.totals + slot * sums_at.count;
  const float* weight = p.weights + at.decoder_output_weight + slot * width * inputs;
  const float* bias = p.weights + at.decoder_output_bias + slot * inputs;
  for (int64_t k0 = 0; k0 <= width; k0 += kTile) {
    const int run = static_cast<int>(width + 1 - k0 < kTile ? width + 1 - k0 : kTile);
    __syncthreads();
    for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
      const int64_t k = k0 + i / kTile;
      const int j = i % kTile;
      float left = 0.0f, right = 0.0f;
      if (k <= width) {
        if (j < units) {
          left = k < width ? total[sums_at.squares + (h0 + j) * width + k]
                           : total[sums_at.features + h0 + j];
        }
        if (j < columns) right = k < width ? weight[k * inputs + c0 + j] : bias[c0 + j];
      }
      table_tile[i / kTile][j] = left;
      inputs_tile[i / kTile][j] = right;
    }
    __syncthreads();
    add_rows(sums, table_tile, inputs_tile, run);
  }
  float* to = p.gradients + at.decoder_output_weight + slot * width * inputs;
  for (int i = 0; i < kLines; ++i) {
    const int64_t h = h0 + warp * kLines + i;
    if (h < width && lane < columns) to[h * inputs + c0 + lane] = sums[i];
  }
  if (h0 == 0 && warp == 0 && lane < columns) {
    float sum = bias_scale * bias[c0 + lane];
    for (int64_t h = 0; h < width; ++h) {
      sum += total[sums_at.features + h] * weight[h * inputs + c0 + lane];
    }
    p.gradients[at.decoder_output_bias + slot * inputs + c0 + lane] = sum;
  }
}

}  // namespace

cudaError_t delta_weights(const DeltaLossParams<float>& p, const CudaTarget& target) {
  const auto tiles = [](int64_t count) {
    return static_cast<unsigned>((count + kTile - 1) / kTile);
  };
  const dim3 grid(tiles(p.sizes.inputs) * tiles(p.sizes.width),
                  static_cast<unsigned>(p.sizes.slots * kWeightTasks));
  const Scales scales = gradient_scales(p);
  const float rows = static_cast<float>(p.pairs) * static_cast<float>(p.frames * (p.frames - 1));
  const float bias_scale = (scales.a + scales.b) * rows;
  return with_element(target.element, [&](auto zero) {
    weights_kernel<decltype(zero)>
        <<<grid, kThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(p, bias_scale);
    return cudaGetLastError();
  });
}

}  // namespace deltafast::cuda
