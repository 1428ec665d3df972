// CPU kernels of the edit as a flow; compiled once per instruction set (see dispatch.h).
//
// A unit of the forward pass is a slot and a band of kFlowRows paths, whose coordinates stay in
// cache from the first step to the last; of the whole edit it is a band of latents, with all its
// slots. A unit of the gradient is a slot and a run of bands: each
// band's path is followed once more, the coordinates before every step kept, and then taken back
// step by step, the four stages of a step recomputed. Every sum follows from the shape alone.

#include "kernels/delta_flow.h"

#include <cstring>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/small_gemm.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int kStages = 4;  // of Runge and Kutta's classic rule

// Some paths of one slot.
template <typename A>
struct Band {
  const DeltaFlowParams<A>& p;
  int64_t slot;
  int64_t first;
  int64_t rows;
  const A* start;  // [rows, width]

  int64_t size() const { return rows * p.width; }
  int64_t row(int64_t r) const { return (slot * p.samples + first + r) * p.width; }
  const A* direction(int64_t r) const {
    return p.direction + (p.one_direction ? slot : slot * p.samples + first + r) * p.width;
  }
  const A* matrix(const A* matrices, int64_t layer) const {
    return matrices + (layer * p.slots + slot) * p.width * p.width;
  }
};

template <typename A>
Band<A> band_at(const DeltaFlowParams<A>& p, int64_t slot, int64_t number) {
  const int64_t first = number * kFlowRows, left = p.samples - first;
  const A* start = p.start ? p.start + (slot * p.samples + first) * p.width : nullptr;
  return {p, slot, first, left < kFlowRows ? left : kFlowRows, start};
}

// out = z's rate of change. `inputs` [layers, rows, width] keeps what each layer's activation read.
template <typename A>
void flow_rate(const Band<A>& b, const A* z, A* inputs, A* active, A* out) {
  const int64_t width = b.p.width, size = b.size();
  std::memcpy(inputs, b.start, sizeof(A) * size);
  const A* below = z;
  for (int64_t k = 0; k < b.p.layers; ++k) {
    A* x = inputs + k * size;
    if (k > 0) {
      const A* bias = b.p.bias + ((k - 1) * b.p.slots + b.slot) * width;
      for (int64_t r = 0; r < b.rows; ++r) std::memcpy(x + r * width, bias, sizeof(A) * width);
    }
    multiply<true>(b.rows, width, width, Left<A>{below, width, 1}, b.matrix(b.p.mixing, k), width,
                   x, width);
    for (int64_t i = 0; i < size; ++i) active[i] = flow_activation(x[i]);
    below = active;
  }
  for (int64_t r = 0; r < b.rows; ++r) {
    const A* __restrict__ code = b.direction(r);
    const A* __restrict__ from = active + r * width;
    A* __restrict__ to = out + r * width;
    for (int64_t h = 0; h < width; ++h) to[h] = from[h] * code[h];
  }
}

// to = z + share * step * rate, each row with its own step.
template <typename A>
void go(const Band<A>& b, const A* z, const A* steps, A share, const A* rate, A* to) {
  const int64_t width = b.p.width;
  for (int64_t r = 0; r < b.rows; ++r) {
    const A amount = share * steps[r];
    for (int64_t h = r * width; h < (r + 1) * width; ++h) to[h] = z[h] + amount * rate[h];
  }
}

constexpr double kNodes[kStages] = {0.0, 0.5, 0.5, 1.0};    // where in a step a stage looks
constexpr double kWeights[kStages] = {1.0, 2.0, 2.0, 1.0};  // of its rate, in sixths

template <typename A>
struct FlowScratch {
  ScratchBlock<A> block;
  A* z;            // [rows, width]
  A* at[kStages];  // where the stages look; the first is not used
  A* inputs[kStages];
  A* rate[kStages];
  A* active;
  A* steps;  // [rows]
  FlowPath<A> paths[kFlowRows];

  explicit FlowScratch(const DeltaFlowParams<A>& p)
      : block(kFlowRows * (p.width * (2 + kStages * (2 + p.layers)) + 1), 3 + 3 * kStages) {
    const int64_t size = kFlowRows * p.width;
    z = block.take(size);
    for (int k = 0; k < kStages; ++k) {
      at[k] = block.take(size);
      inputs[k] = block.take(size * p.layers);
      rate[k] = block.take(size);
    }
    active = block.take(size);
    steps = block.take(kFlowRows);
  }

  // Cuts the band's paths into steps; returns how many the longest takes, a last one of no length
  // among them, for the gradient of alpha.
  int cut(const Band<A>& b) {
    int most = 0;
    for (int64_t r = 0; r < b.rows; ++r) {
      paths[r] = flow_path(b.p.alpha[b.first + r], b.p.steps);
      most = paths[r].full + 1 > most ? paths[r].full + 1 : most;
    }
    return most;
  }

  // Step `k` from `z` on: rates and places of its stages.
  void stages(const Band<A>& b, int k, const A* from) {
    for (int64_t r = 0; r < b.rows; ++r) steps[r] = flow_step(paths[r], k);
    flow_rate(b, from, inputs[0], active, rate[0]);
    for (int s = 1; s < kStages; ++s) {
      go(b, from, steps, static_cast<A>(kNodes[s]), rate[s - 1], at[s]);
      flow_rate(b, at[s], inputs[s], active, rate[s]);
    }
  }

  // The end of the step.
  void finish(const Band<A>& b, const A* from, A* to) {
    const int64_t width = b.p.width;
    for (int64_t r = 0; r < b.rows; ++r) {
      const A sixth = steps[r] / A(6);
      for (int64_t h = r * width; h < (r + 1) * width; ++h) {
        to[h] = from[h] + sixth * (rate[0][h] + A(2) * (rate[1][h] + rate[2][h]) + rate[3][h]);
      }
    }
  }
};

// One stage of a step of all paths, whose last layer is activated from `x`: the rate adds to `sum`,
// and `at` is where the next stage looks; the last stage moves `z`.
template <typename A, int Stage>
void end_stage(const Band<A>& b, const A* x, const A* steps, A* z, A* sum, A* at) {
  const int64_t width = b.p.width;
  for (int64_t r = 0; r < b.rows; ++r) {
    const A* __restrict__ code = b.direction(r);
    const A* __restrict__ from = x + r * width;
    A* __restrict__ to_z = z + r * width;
    A* __restrict__ to_sum = sum + r * width;
    A* __restrict__ to_at = at + r * width;
    const A step = steps[r], ahead = Stage == 2 ? step : step / A(2), sixth = step / A(6);
    for (int64_t h = 0; h < width; ++h) {
      const A rate = flow_activation(from[h]) * code[h];
      if constexpr (Stage == 0) to_sum[h] = rate;
      if constexpr (Stage == 1 || Stage == 2) to_sum[h] += A(2) * rate;
      if constexpr (Stage < 3) to_at[h] = to_z[h] + ahead * rate;
      if constexpr (Stage == 3) to_z[h] += sixth * (to_sum[h] + rate);
    }
  }
}

// Scratch of a band's way there.
template <typename A>
struct WayScratch {
  ScratchBlock<A> block;
  A* z;  // [rows, width]
  A* at;
  A* sum;
  A* x;
  A* active;
  A* steps;  // [rows]
  FlowPath<A> paths[kFlowRows];

  explicit WayScratch(const DeltaFlowParams<A>& p) : block(kFlowRows * (5 * p.width + 1), 6) {
    const int64_t size = kFlowRows * p.width;
    z = block.take(size);
    at = block.take(size);
    sum = block.take(size);
    x = block.take(size);
    active = block.take(size);
    steps = block.take(kFlowRows);
  }

  // Layer `k` of what is at `below`, before its activation, into `x`.
  void layer(const Band<A>& b, int64_t k, const A* below) {
    const int64_t width = b.p.width;
    if (k == 0) {
      std::memcpy(x, b.start, sizeof(A) * b.size());
    } else {
      const A* bias = b.p.bias + ((k - 1) * b.p.slots + b.slot) * width;
      for (int64_t r = 0; r < b.rows; ++r) std::memcpy(x + r * width, bias, sizeof(A) * width);
    }
    multiply<true>(b.rows, width, width, Left<A>{below, width, 1}, b.matrix(b.p.mixing, k), width,
                   x, width);
  }

  template <int Stage>
  void stage(const Band<A>& b) {
    const A* below = Stage == 0 ? z : at;
    for (int64_t k = 0; k < b.p.layers; ++k) {
      layer(b, k, below);
      if (k + 1 == b.p.layers) break;
      for (int64_t i = 0; i < b.size(); ++i) active[i] = flow_activation(x[i]);
      below = active;
    }
    end_stage<A, Stage>(b, x, steps, z, sum, at);
  }

  // Step `k` of all paths.
  void step(const Band<A>& b, int k) {
    for (int64_t r = 0; r < b.rows; ++r) steps[r] = flow_step(paths[r], k);
    stage<0>(b);
    stage<1>(b);
    stage<2>(b);
    stage<3>(b);
  }

  // The whole way, from z = 0 on.
  void follow(const Band<A>& b) {
    std::memset(z, 0, sizeof(A) * b.size());
    int count = 0;
    for (int64_t r = 0; r < b.rows; ++r) {
      paths[r] = flow_path(b.p.alpha[b.first + r], b.p.steps);
      const int own = paths[r].full + (paths[r].rest != A(0));
      count = own > count ? own : count;
    }
    for (int k = 0; k < count; ++k) step(b, k);
  }
};

// The way back through one evaluation of the rate: `grad`, the gradient for it, becomes that for
// the place z where it was taken. Adds to the gradients of start, direction and (in `sums`) of all
// weights.
template <typename A>
void flow_rate_backward(const Band<A>& b, const A* z, const A* inputs, A* active, A* grad, A* spare,
                        A* grad_start, A* grad_direction, A* sums) {
  const int64_t width = b.p.width, size = b.size(), matrix = width * width;
  const A* last = inputs + (b.p.layers - 1) * size;
  for (int64_t r = 0; r < b.rows; ++r) {
    const A* __restrict__ code = b.direction(r);
    for (int64_t h = 0; h < width; ++h) {
      const int64_t i = r * width + h;
      grad_direction[i] += grad[i] * flow_activation(last[i]);
      grad[i] *= code[h];
    }
  }
  for (int64_t k = b.p.layers - 1; k >= 0; --k) {
    const A* x = inputs + k * size;
    for (int64_t i = 0; i < size; ++i) grad[i] *= flow_slope(x[i]);
    const A* below = z;
    if (k > 0) {
      for (int64_t i = 0; i < size; ++i) active[i] = flow_activation(x[i - size]);
      below = active;
      A* to = sums + b.p.layers * matrix + (k - 1) * width;
      for (int64_t r = 0; r < b.rows; ++r) {
        for (int64_t h = 0; h < width; ++h) to[h] += grad[r * width + h];
      }
    } else {
      for (int64_t i = 0; i < size; ++i) grad_start[i] += grad[i];
    }
    multiply<true>(width, width, b.rows, Left<A>{below, 1, width}, grad, width, sums + k * matrix,
                   width);
    multiply<false>(b.rows, width, width, Left<A>{grad, width, 1}, b.matrix(b.p.transposed, k),
                    width, spare, width);
    std::memcpy(grad, spare, sizeof(A) * size);
  }
}

// What the gradient needs beside the stages.
template <typename A>
struct BackwardScratch {
  ScratchBlock<A> block;
  A* grad;      // [rows, width]: for z, behind the step
  A* stage[2];  // for a stage's rate, then for its place; and of the stage behind it
  A* total;
  A* spare;

  explicit BackwardScratch(const DeltaFlowParams<A>& p) : block(5 * kFlowRows * p.width, 5) {
    const int64_t size = kFlowRows * p.width;
    grad = block.take(size);
    stage[0] = block.take(size);
    stage[1] = block.take(size);
    total = block.take(size);
    spare = block.take(size);
  }
};

// The way back through step `k`, whose stages `u` holds: w.grad becomes the gradient for `from`.
template <typename A>
void flow_step_backward(const Band<A>& b, FlowScratch<A>& u, BackwardScratch<A>& w, int k,
                        const A* from, A* sums) {
  const int64_t width = b.p.width, size = b.size();
  A* grad_start = b.p.grad_start + b.row(0);
  A* grad_direction = b.p.grad_direction + b.row(0);
  A* grad_alpha = b.p.grad_alpha + b.slot * b.p.samples + b.first;
  std::memcpy(w.total, w.grad, sizeof(A) * size);
  for (int s = kStages - 1; s >= 0; --s) {
    A* grad = w.stage[s % 2];  // of rate s
    const A* later = w.stage[(s + 1) % 2];
    for (int64_t r = 0; r < b.rows; ++r) {
      const A own = u.steps[r] * static_cast<A>(kWeights[s]) / A(6);
      const A next = s + 1 < kStages ? u.steps[r] * static_cast<A>(kNodes[s + 1]) : A(0);
      const bool ends = k == u.paths[r].full;
      A slope = 0;
      for (int64_t h = r * width; h < (r + 1) * width; ++h) {
        A sum = static_cast<A>(kWeights[s]) / A(6) * w.grad[h];
        grad[h] = own * w.grad[h];
        if (s + 1 < kStages) {
          sum += static_cast<A>(kNodes[s + 1]) * later[h];
          grad[h] += next * later[h];
        }
        slope += sum * u.rate[s][h];
      }
      if (ends) grad_alpha[r] += slope;
    }
    flow_rate_backward(b, s == 0 ? from : u.at[s], u.inputs[s], u.active, grad, w.spare, grad_start,
                       grad_direction, sums);
    for (int64_t i = 0; i < size; ++i) w.total[i] += grad[i];
  }
  std::memcpy(w.grad, w.total, sizeof(A) * size);
}

}  // namespace

template <typename A>
void delta_flow(const DeltaFlowParams<A>& p, int64_t begin, int64_t end) {
  WayScratch<A> way(p);
  const int64_t bands = (p.samples + kFlowRows - 1) / kFlowRows;
  for (int64_t unit = begin; unit < end; ++unit) {
    const Band<A> b = band_at(p, unit / bands, unit % bands);
    way.follow(b);
    std::memcpy(p.result + b.row(0), way.z, sizeof(A) * b.size());
  }
}

template <typename A>
void delta_flow_edit(const DeltaFlowEditParams<A>& p, int64_t begin, int64_t end) {
  constexpr int64_t kColumns = 64;  // of a latent that are written at a time
  const DeltaFlowParams<A>& flow = p.flow;
  const int64_t inputs = p.inputs, width = flow.width, stride = p.num_ws * inputs;
  WayScratch<A> way(flow);
  ScratchBlock<A> block(kFlowRows * (width + kColumns), 2);
  A* start = block.take(kFlowRows * width);
  A* change = block.take(kFlowRows * kColumns);
  for (int64_t unit = begin; unit < end; ++unit) {
    for (int64_t at = 0; at < p.num_ws; ++at) {
      int64_t slot = 0;
      while (slot < flow.slots && p.index[slot] != at) ++slot;
      Band<A> b = band_at(flow, slot < flow.slots ? slot : 0, unit);
      const A* ws = p.ws + b.first * stride + at * inputs;
      A* y = p.y + b.first * stride + at * inputs;
      if (slot == flow.slots) {
        for (int64_t r = 0; r < b.rows; ++r) {
          std::memcpy(y + r * stride, ws + r * stride, sizeof(A) * inputs);
        }
        continue;
      }
      for (int64_t r = 0; r < b.rows; ++r) {
        std::memcpy(start + r * width, p.latent_bias + slot * width, sizeof(A) * width);
      }
      multiply<true>(b.rows, width, inputs, Left<A>{ws, stride, 1},
                     p.latent_weight + slot * inputs * width, width, start, width);
      b.start = start;
      way.follow(b);
      for (int64_t c = 0; c < inputs; c += kColumns) {
        const int64_t columns = inputs - c < kColumns ? inputs - c : kColumns;
        multiply<false>(b.rows, columns, width, Left<A>{way.z, width, 1},
                        p.output_weight + slot * width * inputs + c, inputs, change, kColumns);
        for (int64_t r = 0; r < b.rows; ++r) {
          const A* __restrict__ from = ws + r * stride + c;
          const A* __restrict__ by = change + r * kColumns;
          A* __restrict__ to = y + r * stride + c;
          for (int64_t i = 0; i < columns; ++i) to[i] = from[i] + by[i];
        }
      }
    }
  }
}

template <typename A>
void delta_flow_backward(const DeltaFlowParams<A>& p, int64_t begin, int64_t end) {
  FlowScratch<A> u(p);
  BackwardScratch<A> w(p);
  const int64_t bands = (p.samples + kFlowRows - 1) / kFlowRows;
  const int64_t each = (bands + kFlowRuns - 1) / kFlowRuns;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t slot = unit / kFlowRuns, run = unit % kFlowRuns;
    A* sums = p.sums + (run * p.slots + slot) * flow_sums(p);
    std::memset(sums, 0, sizeof(A) * flow_sums(p));
    for (int64_t number = run * each; number < (run + 1) * each && number < bands; ++number) {
      const Band<A> b = band_at(p, slot, number);
      const int64_t size = b.size();
      const int count = u.cut(b);
      ScratchBlock<A> kept_block(count * size, 1);
      A* kept = kept_block.take(count * size);  // z before every step
      std::memset(kept, 0, sizeof(A) * size);
      for (int k = 0; k + 1 < count; ++k) {
        u.stages(b, k, kept + k * size);
        u.finish(b, kept + k * size, kept + (k + 1) * size);
      }
      std::memcpy(w.grad, p.grad + b.row(0), sizeof(A) * size);
      std::memset(p.grad_start + b.row(0), 0, sizeof(A) * size);
      std::memset(p.grad_direction + b.row(0), 0, sizeof(A) * size);
      std::memset(p.grad_alpha + slot * p.samples + b.first, 0, sizeof(A) * b.rows);
      for (int k = count - 1; k >= 0; --k) {
        u.stages(b, k, kept + k * size);
        flow_step_backward(b, u, w, k, kept + k * size, sums);
      }
    }
  }
}

DELTAFAST_FLOAT_AND_DOUBLE(delta_flow, DeltaFlowParams)
DELTAFAST_FLOAT_AND_DOUBLE(delta_flow_backward, DeltaFlowParams)
DELTAFAST_FLOAT_AND_DOUBLE(delta_flow_edit, DeltaFlowEditParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
