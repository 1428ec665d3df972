// CPU kernels of the fused epilogue; compiled once per instruction set (see dispatch.h). The loops
// are written for the compiler's vectoriser: unit stride, no calls, no branches but selects.

#include "kernels/modulated_epilogue.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/shared/activation.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int64_t kChannelBlock =
    64;  // channels whose coefficients a channels-last loop keeps at hand
constexpr int64_t kPixelBlock = 1024;  // pixels summed in A before they are added to a double

// The coefficients of up to kChannelBlock channels of one sample.
template <typename A>
struct ChannelCoefficients {
  A demod[kChannelBlock];
  A bias[kChannelBlock];
  A style[kChannelBlock];

  ChannelCoefficients(const EpilogueParams<A>& p, int64_t sample, int64_t first, int64_t count) {
    const int64_t row = sample * p.channels + first;
    for (int64_t j = 0; j < count; ++j) {
      demod[j] = p.demod ? p.demod[row + j] : A(1);
      bias[j] = p.bias ? p.bias[first + j] : A(0);
      style[j] = p.style ? p.style[row + j] : A(1);
    }
  }
};

template <typename A>
A noise_strength(const EpilogueParams<A>& p) {
  return p.strength ? *p.strength : A(1);
}

template <typename T>
T smaller(T a, T b) {
  return a < b ? a : b;
}

// A unit is one element of x.
template <typename A>
void forward_nchw(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  const A strength = noise_strength(p);
  const Activation<A> activation = p.activation;
  for (int64_t i = begin; i < end;) {
    const int64_t plane = i / p.pixels;
    const int64_t offset = i % p.pixels;
    const int64_t count = smaller(p.pixels - offset, end - i);
    const int64_t sample = plane / p.channels;
    const ChannelCoefficients<A> k(p, sample, plane % p.channels, 1);
    const A demod = k.demod[0], bias = k.bias[0], style = k.style[0];
    const A* __restrict__ x = static_cast<const A*>(p.x) + i;
    A* __restrict__ y = static_cast<A*>(p.y) + i;
    if (p.noise) {
      const A* __restrict__ noise = p.noise + sample * p.noise_stride + offset;
      for (int64_t j = 0; j < count; ++j) {
        y[j] = activate(activation, demod * x[j] + strength * noise[j] + bias) * style;
      }
    } else {
      for (int64_t j = 0; j < count; ++j) y[j] = activate(activation, demod * x[j] + bias) * style;
    }
    i += count;
  }
}

// A unit is one pixel of one sample.
template <typename A>
void forward_nhwc(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  const A strength = noise_strength(p);
  const Activation<A> activation = p.activation;
  for (int64_t first = begin; first < end;) {
    const int64_t sample = first / p.pixels;
    const int64_t last = smaller((sample + 1) * p.pixels, end);
    // The noise of pixel i of the whole batch is noise[i], also where all samples share one map.
    const A* noise = p.noise ? p.noise + sample * (p.noise_stride - p.pixels) : nullptr;
    for (int64_t c = 0; c < p.channels; c += kChannelBlock) {
      const int64_t count = smaller(kChannelBlock, p.channels - c);
      const ChannelCoefficients<A> k(p, sample, c, count);
      for (int64_t i = first; i < last; ++i) {
        const A* __restrict__ x = static_cast<const A*>(p.x) + i * p.channels + c;
        A* __restrict__ y = static_cast<A*>(p.y) + i * p.channels + c;
        const A shift = noise ? strength * noise[i] : A(0);
        for (int64_t j = 0; j < count; ++j) {
          y[j] = activate(activation, k.demod[j] * x[j] + shift + k.bias[j]) * k.style[j];
        }
      }
    }
    first = last;
  }
}

// Writes grad_x of `count` consecutive pixels of one channel and adds their sums. `Noise` is
// whether there is any.
template <bool Noise, typename A>
void backward_row(const Activation<A>& activation, A demod, A bias, A style, A strength,
                  const A* __restrict__ x, const A* __restrict__ grad, const A* __restrict__ noise,
                  A* __restrict__ grad_x, int64_t count, double* sums) {
  A sum_x = 0, sum = 0, sum_noise = 0, sum_style = 0;
#pragma omp simd reduction(+ : sum_x, sum, sum_noise, sum_style)
  for (int64_t j = 0; j < count; ++j) {
    A u = demod * x[j] + bias;
    if (Noise) u = demod * x[j] + strength * noise[j] + bias;
    const A v = activate_unclamped(activation, u);
    const A g = grad[j] * style * activation_slope(activation, u, v);
    grad_x[j] = g * demod;
    sum_x += g * x[j];
    sum += g;
    if (Noise) sum_noise += g * noise[j];
    sum_style += grad[j] * clamp_symmetric(v, activation.clamp);
  }
  sums[kSumGradX] += sum_x;
  sums[kSumGrad] += sum;
  sums[kSumGradNoise] += sum_noise;
  sums[kSumStyle] += sum_style;
}

int64_t split_begin(int64_t pixels, int64_t splits, int64_t split) {
  return pixels * split / splits;
}

// A unit is one split of the pixels of one (sample, channel).
template <typename A>
void backward_nchw(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  const A strength = noise_strength(p);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t plane = unit / p.splits;
    const int64_t split = unit % p.splits;
    const int64_t sample = plane / p.channels;
    const ChannelCoefficients<A> k(p, sample, plane % p.channels, 1);
    double* sums = static_cast<double*>(p.partials) + unit * kEpilogueSums;
    for (int s = 0; s < kEpilogueSums; ++s) sums[s] = 0;
    const int64_t last = split_begin(p.pixels, p.splits, split + 1);
    for (int64_t i = split_begin(p.pixels, p.splits, split); i < last; i += kPixelBlock) {
      const int64_t count = smaller(kPixelBlock, last - i);
      const int64_t at = plane * p.pixels + i;
      const A* x = static_cast<const A*>(p.x) + at;
      const A* grad = static_cast<const A*>(p.grad) + at;
      A* grad_x = static_cast<A*>(p.grad_x) + at;
      if (p.noise) {
        const A* noise = p.noise + sample * p.noise_stride + i;
        backward_row<true>(p.activation, k.demod[0], k.bias[0], k.style[0], strength, x, grad,
                           noise, grad_x, count, sums);
      } else {
        backward_row<false>(p.activation, k.demod[0], k.bias[0], k.style[0], strength, x, grad,
                            static_cast<const A*>(nullptr), grad_x, count, sums);
      }
    }
  }
}

// A unit is one split of the pixels of one sample, all channels.
template <typename A>
void backward_nhwc(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  const A strength = noise_strength(p);
  const Activation<A> activation = p.activation;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / p.splits;
    const int64_t split = unit % p.splits;
    const A* noise = p.noise ? p.noise + sample * p.noise_stride : nullptr;
    const int64_t last = split_begin(p.pixels, p.splits, split + 1);
    for (int64_t c = 0; c < p.channels; c += kChannelBlock) {
      const int64_t count = smaller(kChannelBlock, p.channels - c);
      const ChannelCoefficients<A> k(p, sample, c, count);
      double total[kEpilogueSums][kChannelBlock] = {};
      for (int64_t i = split_begin(p.pixels, p.splits, split); i < last; i += kPixelBlock) {
        A sums[kEpilogueSums][kChannelBlock] = {};
        const int64_t stop = smaller(i + kPixelBlock, last);
        for (int64_t q = i; q < stop; ++q) {
          const int64_t at = (sample * p.pixels + q) * p.channels + c;
          const A* __restrict__ x = static_cast<const A*>(p.x) + at;
          const A* __restrict__ grad = static_cast<const A*>(p.grad) + at;
          A* __restrict__ grad_x = static_cast<A*>(p.grad_x) + at;
          const A noise_here = noise ? noise[q] : A(0);
          const A shift = strength * noise_here;
          for (int64_t j = 0; j < count; ++j) {
            const A u = k.demod[j] * x[j] + shift + k.bias[j];
            const A v = activate_unclamped(activation, u);
            const A g = grad[j] * k.style[j] * activation_slope(activation, u, v);
            grad_x[j] = g * k.demod[j];
            sums[kSumGradX][j] += g * x[j];
            sums[kSumGrad][j] += g;
            sums[kSumGradNoise][j] += g * noise_here;
            sums[kSumStyle][j] += grad[j] * clamp_symmetric(v, activation.clamp);
          }
        }
        for (int s = 0; s < kEpilogueSums; ++s) {
          for (int64_t j = 0; j < count; ++j) total[s][j] += sums[s][j];
        }
      }
      for (int64_t j = 0; j < count; ++j) {
        const int64_t row = (sample * p.channels + c + j) * p.splits + split;
        for (int s = 0; s < kEpilogueSums; ++s) {
          static_cast<double*>(p.partials)[row * kEpilogueSums + s] = total[s][j];
        }
      }
    }
  }
}

// grad_noise = strength * sum over channels of g. A unit is one pixel of one sample.
template <typename A>
void grad_noise_nchw(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  const A strength = noise_strength(p);
  const Activation<A> activation = p.activation;
  for (int64_t first = begin; first < end;) {
    const int64_t sample = first / p.pixels;
    const int64_t offset = first % p.pixels;
    const int64_t count = smaller(smaller(p.pixels - offset, end - first), kPixelBlock);
    const A* __restrict__ noise = p.noise + sample * p.noise_stride + offset;
    A sums[kPixelBlock];
    for (int64_t j = 0; j < count; ++j) sums[j] = 0;
    for (int64_t c = 0; c < p.channels; ++c) {
      const ChannelCoefficients<A> k(p, sample, c, 1);
      const A demod = k.demod[0], bias = k.bias[0], style = k.style[0];
      const int64_t at = (sample * p.channels + c) * p.pixels + offset;
      const A* __restrict__ x = static_cast<const A*>(p.x) + at;
      const A* __restrict__ grad = static_cast<const A*>(p.grad) + at;
      for (int64_t j = 0; j < count; ++j) {
        const A u = demod * x[j] + strength * noise[j] + bias;
        sums[j] +=
            grad[j] * style * activation_slope(activation, u, activate_unclamped(activation, u));
      }
    }
    for (int64_t j = 0; j < count; ++j) p.grad_noise[first + j] = strength * sums[j];
    first += count;
  }
}

template <typename A>
void grad_noise_nhwc(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  const A strength = noise_strength(p);
  const Activation<A> activation = p.activation;
  for (int64_t first = begin; first < end;) {
    const int64_t sample = first / p.pixels;
    const int64_t last = smaller((sample + 1) * p.pixels, end);
    const A* noise = p.noise + sample * (p.noise_stride - p.pixels);
    for (int64_t i = first; i < last; ++i) p.grad_noise[i] = 0;
    for (int64_t c = 0; c < p.channels; c += kChannelBlock) {
      const int64_t count = smaller(kChannelBlock, p.channels - c);
      const ChannelCoefficients<A> k(p, sample, c, count);
      for (int64_t i = first; i < last; ++i) {
        const A* __restrict__ x = static_cast<const A*>(p.x) + i * p.channels + c;
        const A* __restrict__ grad = static_cast<const A*>(p.grad) + i * p.channels + c;
        const A shift = strength * noise[i];
        A sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < count; ++j) {
          const A u = k.demod[j] * x[j] + shift + k.bias[j];
          sum += grad[j] * k.style[j] *
                 activation_slope(activation, u, activate_unclamped(activation, u));
        }
        p.grad_noise[i] += strength * sum;
      }
    }
    first = last;
  }
}

}  // namespace

template <typename A>
void epilogue(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  p.channels_last ? forward_nhwc(p, begin, end) : forward_nchw(p, begin, end);
}

template <typename A>
void epilogue_backward(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  p.channels_last ? backward_nhwc(p, begin, end) : backward_nchw(p, begin, end);
}

template <typename A>
void epilogue_grad_noise(const EpilogueParams<A>& p, int64_t begin, int64_t end) {
  p.channels_last ? grad_noise_nhwc(p, begin, end) : grad_noise_nchw(p, begin, end);
}

DELTAFAST_FLOAT_AND_DOUBLE(epilogue, EpilogueParams)
DELTAFAST_FLOAT_AND_DOUBLE(epilogue_backward, EpilogueParams)
DELTAFAST_FLOAT_AND_DOUBLE(epilogue_grad_noise, EpilogueParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
