// All frame pairs of a pair of identities in one slot, forward and backward, in one block: E, then
// D on either identity, the loss, and all gradients but those of the four large weights. Then the
// sums over the blocks.

#include "kernels/cuda/delta_step.cuh"

namespace deltafast::cuda {
namespace {

// A matrix in any memory: element (i, j) is at[i * row + j * column].
struct Matrix {
  const float* at;
  int64_t row;
  int64_t column;
};

// out [rows, columns] = a [rows, depth] b [depth, columns] (+ bias [columns]); a thread computes
// four rows of a column.
__device__ __forceinline__ void block_product(int rows, int columns, int depth, Matrix a, Matrix b,
                                              const float* bias, float factor, bool add,
                                              float* out) {
  constexpr int kRows = 4;
  const int groups = (rows + kRows - 1) / kRows;
  for (int i = threadIdx.x; i < groups * columns; i += kThreads) {
    const int column = i % columns, row0 = i / columns * kRows;
    float sums[kRows] = {};
    for (int k = 0; k < depth; ++k) {
      const float right = b.at[k * b.row + column * b.column];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (row0 + r < rows) sums[r] += a.at[(row0 + r) * a.row + k * a.column] * right;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (row0 + r >= rows) continue;
      float* to = out + (row0 + r) * columns + column;
      const float value = factor * sums[r] + (bias ? bias[column] : 0.0f);
      *to = add ? *to + value : value;
    }
  }
}

__device__ __forceinline__ void block_leaky_relu(float* v, int count) {
  for (int i = threadIdx.x; i < count; i += kThreads) {
    v[i] = v[i] > 0.0f ? v[i] : v[i] * static_cast<float>(kDeltaSlope);
  }
}

__device__ __forceinline__ void block_leaky_relu_backward(float* grad, const float* y, int count) {
  for (int i = threadIdx.x; i < count; i += kThreads) {
    if (!(y[i] > 0.0f)) grad[i] *= static_cast<float>(kDeltaSlope);
  }
}

// out[h] (+)= sum over rows of v[row][h]
__device__ __forceinline__ void block_column_sums(const float* v, int rows, int columns, bool add,
                                                  float* out) {
  for (int h = threadIdx.x; h < columns; h += kThreads) {
    float sum = 0.0f;
    for (int r = 0; r < rows; ++r) sum += v[r * columns + h];
    out[h] = add ? out[h] + sum : sum;
  }
}

struct PairBlock {
  const Params& p;
  const DeltaLayout at;
  const PairSums sums_at;
  int64_t slot;
  int rows;
  int width;
  int frames;
  float* sums;
  float* grad;
  float* spare;

  __device__ const float* weight(int64_t offset, int64_t size) const {
    return p.weights + offset + slot * size;
  }
  __device__ const float* hidden_weight(int64_t first, int k) const {
    return weight(first + k * hidden_size(p.sizes), int64_t(width) * width);
  }
  __device__ const float* hidden_bias(int64_t first, int k) const {
    return weight(first + k * hidden_size(p.sizes) + p.sizes.slots * width * width, width);
  }

  // The layers after the first one; kept[0] holds the first one's sums on entry.
  __device__ __forceinline__ void forward(int64_t first, float* kept) const {
    block_leaky_relu(kept, rows * width);
    __syncthreads();
    for (int k = 0; k + 1 < p.sizes.layers; ++k) {
      float* next = kept + int64_t(k + 1) * rows * width;
      block_product(rows, width, width, {kept + int64_t(k) * rows * width, width, 1},
                    {hidden_weight(first, k), width, 1}, hidden_bias(first, k), 1.0f, false, next);
      __syncthreads();
      block_leaky_relu(next, rows * width);
      __syncthreads();
    }
  }

  // From the gradient for the last activation, in `grad`, to that for the first layer's sums, again
  // in `grad`; the layers' own gradients are added to sums + into, or set.
  __device__ __forceinline__ void backward(int64_t first, const float* kept, int64_t into,
                                           bool add) {
    for (int k = static_cast<int>(p.sizes.layers) - 1; k > 0; --k) {
      block_leaky_relu_backward(grad, kept + int64_t(k) * rows * width, rows * width);
      __syncthreads();
      float* layer = sums + into + (k - 1) * (int64_t(width) * width + width);
      block_product(width, width, rows, {kept + int64_t(k - 1) * rows * width, 1, width},
                    {grad, width, 1}, nullptr, 1.0f, add, layer);
      block_column_sums(grad, rows, width, add, layer + int64_t(width) * width);
      block_product(rows, width, width, {grad, width, 1}, {hidden_weight(first, k - 1), 1, width},
                    nullptr, 1.0f, false, spare);
      __syncthreads();
      float* old = grad;
      grad = spare;
      spare = old;
    }
    block_leaky_relu_backward(grad, kept, rows * width);
    __syncthreads();
  }
};

// This thread's part of the sum over ordered frame pairs of |x_j - x_i|^2, from the frames'
// deviations from their mean.
template <typename T>
__device__ float spread_part(const Params& p, int64_t slot, int64_t identity) {
  float square = 0.0f;
  for (int64_t c = threadIdx.x; c < p.sizes.inputs; c += kThreads) {
    float mean = 0.0f;
    for (int64_t k = 0; k < p.frames; ++k) mean += component<T>(p, slot, identity, k, c);
    mean /= static_cast<float>(p.frames);
    for (int64_t k = 0; k < p.frames; ++k) {
      const float d = component<T>(p, slot, identity, k, c) - mean;
      square += d * d;
    }
  }
  return 2.0f * static_cast<float>(p.frames) * square;
}

// D on one of the two identities, forward and backward; returns this thread's part of the sum over
// frame pairs of |F W + v - t|^2 less its constants, and adds to `grad_embedded`.
__device__ __forceinline__ float block_decoder(PairBlock& u, const Workspace& w, float* latent,
                                               float* target, float* decoder, const float* embedded,
                                               float* frame_sums, float* grad_embedded, float scale,
                                               bool add) {
  const int rows = u.rows, width = u.width, frames = u.frames;
  for (int i = threadIdx.x; i < rows * width; i += kThreads) {
    const FramePair<int> pair = frame_pair(i / width, frames);
    decoder[i] = latent[pair.i * width + i % width] + embedded[i];
  }
  __syncthreads();
  u.forward(u.at.decoder_hidden, decoder);
  const float* features = decoder + (u.p.sizes.layers - 1) * int64_t(rows) * width;
  const float* squares = w.squares + u.slot * int64_t(width + 1) * width;
  const float* bias = squares + int64_t(width) * width;
  block_product(rows, width, width, {features, width, 1}, {squares, width, 1}, nullptr, 1.0f, false,
                u.grad);
  __syncthreads();
  float loss = 0.0f;
  for (int i = threadIdx.x; i < rows * width; i += kThreads) {
    const FramePair<int> pair = frame_pair(i / width, frames);
    const int h = i % width;
    const float constant = bias[h] - (target[pair.j * width + h] - target[pair.i * width + h]);
    loss += features[i] * (u.grad[i] + 2.0f * constant);
    u.grad[i] = scale * (u.grad[i] + constant);
  }
  // The sums of F over the pairs from a frame and to it, the difference taking the targets' place.
  __syncthreads();
  for (int i = threadIdx.x; i < frames * width; i += kThreads) {
    const int frame = i / width, h = i % width;
    float from = 0.0f, to = 0.0f;
    for (int other = 0; other < frames; ++other) {
      if (other == frame) continue;
      from += features[(frame * (frames - 1) + (other < frame ? other : other - 1)) * width + h];
      to += features[(other * (frames - 1) + (frame < other ? frame : frame - 1)) * width + h];
    }
    frame_sums[i] = scale * to;
    target[i] = scale * (from - to);
  }
  __syncthreads();
  block_column_sums(frame_sums, frames, width, add, u.sums + u.sums_at.features);
  block_product(width, width, rows, {features, 1, width}, {features, width, 1}, nullptr, scale, add,
                u.sums + u.sums_at.squares);
  u.backward(u.at.decoder_hidden, decoder,
             u.sums_at.hidden + (u.p.sizes.layers - 1) * (int64_t(width) * width + width), add);
  for (int i = threadIdx.x; i < rows * width; i += kThreads) {
    grad_embedded[i] = add ? grad_embedded[i] + u.grad[i] : u.grad[i];
  }
  for (int i = threadIdx.x; i < frames * width; i += kThreads) {
    float sum = 0.0f;
    for (int other = 0; other < frames - 1; ++other) {
      sum += u.grad[(i / width * (frames - 1) + other) * width + i % width];
    }
    latent[i] = sum;
  }
  __syncthreads();
  block_column_sums(latent, frames, width, add, u.sums + u.sums_at.latent_bias);
  __syncthreads();
  return loss;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) pairs_kernel(const Params p, const Scales scales) {
  extern __shared__ float shared[];
  const Workspace w = workspace(p);
  const int64_t pair = blockIdx.x, slot = blockIdx.y;
  const int width = static_cast<int>(p.sizes.width), dim = static_cast<int>(p.sizes.dim);
  const int frames = static_cast<int>(p.frames), rows = frames * (frames - 1);
  const int64_t unit = slot * p.pairs + pair;
  float* at = pairs_fit(p) ? shared : w.scratch + unit * pair_floats(p);
  const int wide = rows * width;
  const auto take = [&](int64_t count) {
    float* result = at;
    at += count;
    return result;
  };
  float* encoder = take(p.sizes.layers * wide);
  float* decoder = take(p.sizes.layers * wide);
  float* embedded = take(wide);
  float* grad_embedded = take(wide);
  float* grad = take(wide);
  float* spare = take(wide);
  float* code = take(int64_t(rows) * dim);
  float* frame_sums = take(int64_t(frames) * width);
  PairBlock u{
      p,    delta_layout(p.sizes), pair_sums(p.sizes), slot, rows, width, frames, nullptr, grad,
      spare};
  u.sums = w.sums + unit * u.sums_at.count;
  const int64_t frame0 = pair * p.frames;
  float* source = table_at(p, w, kSource, slot, frame0);
  float* target = table_at(p, w, kTarget, slot, frame0);

  for (int i = threadIdx.x; i < wide; i += kThreads) {
    const FramePair<int> ends = frame_pair(i / width, frames);
    encoder[i] = source[ends.i * width + i % width] + target[ends.j * width + i % width];
  }
  __syncthreads();
  u.forward(u.at.encoder_hidden, encoder);
  const float* last = encoder + (p.sizes.layers - 1) * int64_t(wide);
  const float* encoder_output = u.weight(u.at.encoder_output_weight, int64_t(width) * dim);
  const float* code_weight = u.weight(u.at.code_weight, int64_t(dim) * width);
  block_product(rows, dim, width, {last, width, 1}, {encoder_output, dim, 1},
                u.weight(u.at.encoder_output_bias, dim), 1.0f, false, code);
  __syncthreads();
  block_product(rows, width, dim, {code, dim, 1}, {code_weight, width, 1}, nullptr, 1.0f, false,
                embedded);
  __syncthreads();

  // This thread's part of lambda_a (loss of a) + lambda_b (loss of b), less the constants.
  float loss = 0.0f;
#pragma unroll 1
  for (int side = 0; side < 2; ++side) {
    const float lambda = side == 0 ? p.lambda_a : p.lambda_b;
    loss += lambda * block_decoder(u, w, table_at(p, w, kLatentA + side, slot, frame0),
                                   table_at(p, w, kTargetA + side, slot, frame0), decoder, embedded,
                                   frame_sums, grad_embedded, side == 0 ? scales.a : scales.b,
                                   side == 1);
  }

  block_product(dim, width, rows, {code, 1, dim}, {grad_embedded, width, 1}, nullptr, 1.0f, false,
                u.sums + u.sums_at.code_weight);
  __syncthreads();
  block_product(rows, dim, width, {grad_embedded, width, 1}, {code_weight, 1, width}, nullptr, 1.0f,
                false, code);  // the gradient for the code takes its place
  __syncthreads();
  float* output_sums = u.sums + u.sums_at.encoder_output;
  block_product(width, dim, rows, {last, 1, width}, {code, dim, 1}, nullptr, 1.0f, false,
                output_sums);
  block_column_sums(code, rows, dim, false, output_sums + int64_t(width) * dim);
  block_product(rows, width, dim, {code, dim, 1}, {encoder_output, 1, dim}, nullptr, 1.0f, false,
                u.grad);
  __syncthreads();
  u.backward(u.at.encoder_hidden, encoder, u.sums_at.hidden, false);
  for (int i = threadIdx.x; i < frames * width; i += kThreads) {
    const int frame = i / width, h = i % width;
    float from = 0.0f, to = 0.0f;
    for (int other = 0; other < frames; ++other) {
      if (other == frame) continue;
      from += u.grad[(frame * (frames - 1) + (other < frame ? other : other - 1)) * width + h];
      to += u.grad[(other * (frames - 1) + (frame < other ? frame : frame - 1)) * width + h];
    }
    source[i] = from;
    target[i] = to;
  }
  __syncthreads();
  block_column_sums(source, frames, width, false, u.sums + u.sums_at.source_bias);

  const float constant = static_cast<float>(rows) * w.bias_square[slot];
  loss += p.lambda_a * spread_part<T>(p, slot, p.first[pair]);
  loss += p.lambda_b * spread_part<T>(p, slot, p.second[pair]);
  loss = block_sum(loss);
  if (threadIdx.x == 0) w.losses[unit] = loss + (p.lambda_a + p.lambda_b) * constant;
}

// The place of sum `i` of a slot among the gradients, or -1 for the sums that only kernel 4 reads.
__device__ int64_t gradient_at(const Params& p, int64_t slot, int64_t i) {
  const DeltaSizes& s = p.sizes;
  const DeltaLayout at = delta_layout(s);
  const PairSums sums = pair_sums(s);
  if (i < sums.encoder_output) return -1;
  if (i < sums.encoder_output + s.width * s.dim) {
    return at.encoder_output_weight + slot * s.width * s.dim + i - sums.encoder_output;
  }
  if (i < sums.code_weight) {
    return at.encoder_output_bias + slot * s.dim + i - sums.encoder_output - s.width * s.dim;
  }
  if (i < sums.source_bias) {
    return at.code_weight + slot * s.dim * s.width + i - sums.code_weight;
  }
  if (i < sums.latent_bias) return at.source_bias + slot * s.width + i - sums.source_bias;
  if (i < sums.hidden) return at.latent_bias + slot * s.width + i - sums.latent_bias;
  const int64_t matrix = s.width * s.width, layer = matrix + s.width;
  const int64_t k = static_cast<int>(i - sums.hidden) / static_cast<int>(layer);
  const int64_t inside = i - sums.hidden - k * layer;
  const int64_t first = k < s.layers - 1 ? at.encoder_hidden + k * hidden_size(s)
                                         : at.decoder_hidden + (k - s.layers + 1) * hidden_size(s);
  return inside < matrix ? first + slot * matrix + inside
                         : first + s.slots * matrix + slot * s.width + inside - matrix;
}

// A thread for each sum of a slot, blockIdx.y.
__global__ void __launch_bounds__(kThreads, 1) collect_kernel(const Params p, const float share) {
  const Workspace w = workspace(p);
  const int64_t count = pair_sums(p.sizes).count, slot = blockIdx.y;
  const int64_t sum = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (sum < count) {
    const float* from = w.sums + slot * p.pairs * count + sum;
    float total = 0.0f;
    for (int64_t pair = 0; pair < p.pairs; ++pair) total += from[pair * count];
    w.totals[slot * count + sum] = total;
    const int64_t to = gradient_at(p, slot, sum);
    if (to >= 0) p.gradients[to] = total;
  }
  if (blockIdx.x != 0 || blockIdx.y != 0) return;
  float loss = 0.0f;
  for (int64_t i = threadIdx.x; i < p.sizes.slots * p.pairs; i += kThreads) loss += w.losses[i];
  loss = block_sum(loss);
  if (threadIdx.x == 0) *p.loss = share * loss;
}

}  // namespace

cudaError_t delta_pairs(const DeltaLossParams<float>& p, const CudaTarget& target) {
  const dim3 grid(static_cast<unsigned>(p.pairs), static_cast<unsigned>(p.sizes.slots));
  const size_t shared = pairs_fit(p) ? sizeof(float) * pair_floats(p) : 0;
  return with_element(target.element, [&](auto zero) {
    pairs_kernel<decltype(zero)>
        <<<grid, kThreads, shared, static_cast<cudaStream_t>(target.stream)>>>(p,
                                                                               gradient_scales(p));
    return cudaGetLastError();
  });
}

cudaError_t delta_collect(const DeltaLossParams<float>& p, const CudaTarget& target) {
  const int64_t sums = pair_sums(p.sizes).count;
  const dim3 blocks(static_cast<unsigned>((sums + kThreads - 1) / kThreads),
                    static_cast<unsigned>(p.sizes.slots));
  const auto share = static_cast<float>(1.0 / change_components(p));
  collect_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(p, share);
  return cudaGetLastError();
}

}  // namespace deltafast::cuda
