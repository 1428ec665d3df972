// The gradient of the separable convolution for its weights, its bias and its noise; compiled once
// per instruction set (see dispatch.h). One unit is some bands of rows. Tile by tile the depthwise
// result is made again, and the masked gradient; their product is a part of the pointwise weights'
// gradient, and the depthwise weights' gradient comes from the input and the product of the
// gradient with the pointwise weights. All of a tile stays in cache.

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/separable_input.h"
#include "kernels/cpu/small_gemm.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int64_t kTileFloats = 49152;  // of a tile's three maps
constexpr int64_t kApart = 16;          // what keeps neighbouring pixels out of one cache set

DELTAFAST_HD int64_t weight_tile_pixels(int64_t width_of_all) {
  const int64_t pixels = kTileFloats / width_of_all;
  return pixels < 8 ? 8 : (pixels > 128 ? 128 : pixels);
}

// Adds the products of pixels [first, last) of a row, `gradient` [pixels of the row], with its
// neighbours to `sums` [9][padded].
template <typename A>
DELTAFAST_HD void depthwise_gradient(const ThreeRows<A>& in, int64_t first, int64_t last,
                                     const A* gradient, int64_t stride, int64_t padded, A* sums) {
  for (int64_t channel = 0; channel < padded; channel += kLanes<A>) {
    const int64_t count = in.readable - channel;
    const bool whole = count >= kLanes<A>;
    const auto at = [&](const A* p) { return whole ? load(p) : load_some(p, count); };
    for (int r = 0; r < 3; ++r) {
      if (!in.row[r]) continue;
      A* sum = sums + 3 * r * padded + channel;
      Vector<A> left = load(sum), middle = load(sum + padded), right = load(sum + 2 * padded);
      const A* pixel = in.row[r] + first * in.stride + channel;
      Vector<A> before = at(first > 0 ? pixel - in.stride : in.zeros + channel);
      Vector<A> here = at(pixel);
      for (int64_t x = first; x < last; ++x) {
        pixel += in.stride;
        const Vector<A> after = at(x + 1 < in.width ? pixel : in.zeros + channel);
        const Vector<A> g = load(gradient + x * stride + channel);
        left += before * g;
        middle += here * g;
        right += after * g;
        before = here;
        here = after;
      }
      store(sum, left);
      store(sum + padded, middle);
      store(sum + 2 * padded, right);
    }
  }
}

// Some bands of rows at work, with the buffers that its thread uses again and again.
template <typename A>
class WeightGradient {
 public:
  explicit WeightGradient(const SeparableConvParams<A>& params)
      : p_(params),
        input_(params),
        padded_(input_.padded()),
        panels_(round_up(params.channels, kPanel<A>)),
        outputs_(round_up(params.outputs, kLanes<A>)),
        tile_(weight_tile_pixels(padded_ + panels_ + outputs_)),
        scratch_(tile_ * (padded_ + panels_ + outputs_ + 3 * kApart) + 9 * padded_ + outputs_, 5),
        filtered_(scratch_.take(tile_ * (padded_ + kApart))),
        gradient_(scratch_.take(tile_ * (outputs_ + kApart))),
        turned_(scratch_.take(tile_ * (panels_ + kApart))),
        depthwise_(scratch_.take(9 * padded_)),
        bias_(scratch_.take(outputs_)) {}

  // The sums of one unit.
  void run(int64_t unit) {
    const int64_t units = separable_conv_weight_units(p_.batch, p_.height);
    const int64_t bands = p_.batch * separable_conv_bands(p_.height);
    pointwise_sums_ = p_.weight_partials + unit * separable_conv_weight_sums(p_);
    depthwise_sums_ = pointwise_sums_ + p_.outputs * p_.channels;
    A* bias_sums = depthwise_sums_ + 9 * p_.channels;
    for (A* sum = pointwise_sums_; sum < bias_sums; ++sum) *sum = 0;
    for (int64_t o = 0; o < outputs_; ++o) bias_[o] = 0;
    for_each_sample(p_.height, unit * bands / units, (unit + 1) * bands / units,
                    [this](int64_t sample, int64_t first, int64_t last) {
                      input_.begin(sample, first, {});
                      for (int64_t i = 0; i < 9 * padded_; ++i) depthwise_[i] = 0;
                      const int64_t end = last * p_.width;
                      for (int64_t pixel = first * p_.width; pixel < end; pixel += tile_) {
                        add_tile(sample, pixel, smaller(tile_, end - pixel));
                      }
                      flush_depthwise(sample);
                    });
    for (int64_t o = 0; o < p_.outputs; ++o) bias_sums[o] = bias_[o];
  }

 private:
  void add_tile(int64_t sample, int64_t pixel, int64_t count) {
    const int64_t wide = padded_ + kApart, turned = panels_ + kApart, masked = outputs_ + kApart;
    mask(sample, pixel, count);
    const A* right = p_.packed;
    for (int64_t c = 0; c < panels_; c += kPanel<A>, right += kPanel<A> * outputs_) {
      multiply<false>(count, int64_t{kPanel<A>}, p_.outputs, Left<A>{gradient_, masked, 1}, right,
                      int64_t{kPanel<A>}, turned_ + c, turned);
    }
    for (int64_t done = 0; done < count;) {
      const int64_t y = (pixel + done) / p_.width, x = (pixel + done) % p_.width;
      const int64_t x_end = smaller(p_.width, x + count - done);
      const ThreeRows<A> rows = input_.rows_around(y);
      A* to = filtered_ + (done - x) * wide;
      auto use = [to, wide](int64_t at, int64_t channel, const auto& sums) {
        A* out = to + at * wide + channel;
        for (const Vector<A>& v : sums) {
          store(out, v);
          out += wide;
        }
      };
      depthwise_run<A>(rows, x, x_end, input_.weights(), padded_, use);
      depthwise_gradient(rows, x, x_end, turned_ + (done - x) * turned, turned, padded_,
                         depthwise_);
      done += x_end - x;
    }
    multiply<true>(p_.outputs, p_.channels, count, Left<A>{gradient_, 1, masked}, filtered_, wide,
                   pointwise_sums_, p_.channels);
  }

  // The gradient before the activation, and its sums over the channels and over the pixels.
  void mask(int64_t sample, int64_t pixel, int64_t count) {
    const int64_t start = sample * p_.height * p_.width + pixel;
    const A* y = p_.y + start * p_.outputs;
    const A* grad = p_.grad + start * p_.outputs;
    const Vector<A> positive = splat(p_.gain), negative = splat(p_.gain * p_.slope);
    for (int64_t i = 0; i < count; ++i, y += p_.outputs, grad += p_.outputs) {
      Vector<A> total{};
      for (int64_t o = 0; o < outputs_; o += kLanes<A>) {
        const int64_t some = p_.outputs - o;
        const Vector<A> slope = where_positive<A>(load_some(y + o, some), positive, negative);
        const Vector<A> masked = load_some(grad + o, some) * slope;
        store(gradient_ + i * (outputs_ + kApart) + o, masked);
        store<A>(bias_ + o, load(bias_ + o) + masked);
        total += masked;
      }
      A lanes[kLanes<A>], sum = 0;
      store<A>(lanes, total);
      for (const A lane : lanes) sum += lane;
      p_.grad_noise[start + i] = sum;
    }
  }

  // What was summed up of one sample; its style stands in the weights where there is no wavelet.
  void flush_depthwise(int64_t sample) {
    const A* style = p_.style && !p_.wavelet ? p_.style + sample * p_.channels : nullptr;
    for (int64_t channel = 0; channel < p_.channels; ++channel) {
      for (int tap = 0; tap < 9; ++tap) {
        const A sum = depthwise_[tap * padded_ + channel];
        depthwise_sums_[channel * 9 + tap] += style ? style[channel] * sum : sum;
      }
    }
  }

  const SeparableConvParams<A>& p_;
  SeparableInput<A> input_;
  const int64_t padded_, panels_, outputs_, tile_;
  ScratchBlock<A> scratch_;
  A *filtered_, *gradient_, *turned_, *depthwise_, *bias_;
  A *pointwise_sums_ = nullptr, *depthwise_sums_ = nullptr;
};

}  // namespace

template <typename A>
void separable_conv_backward_weights(const SeparableConvParams<A>& p, int64_t begin, int64_t end) {
  WeightGradient<A> layer(p);
  for (int64_t unit = begin; unit < end; ++unit) layer.run(unit);
}

DELTAFAST_FLOAT_AND_DOUBLE(separable_conv_backward_weights, SeparableConvParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
