// One layer of MobileStyleGAN on CPUs, worked off in tiles of pixels: the depthwise convolution of
// a tile goes into a buffer that stays in cache, the matrix product takes it from there, and noise,
// bias and activation are applied to the sums while they are in registers, so that the layer's
// input is read and its result written once.
#pragma once

#include "kernels/cpu/separable_input.h"

namespace deltafast::cpu::DELTAFAST_ISA {

constexpr int64_t kTileElements = 16384;  // of the depthwise result: a tile that stays in cache

// Pixels of a tile: whole register tiles, as many as fit.
DELTAFAST_HD int64_t tile_pixels(int64_t padded_channels) {
  const int64_t tiles = kTileElements / (padded_channels * kTilePixels);
  return (tiles < 1 ? 1 : tiles) * kTilePixels;
}

// What follows the product: noise and bias, activation, and the store.
template <typename A>
struct ForwardEpilogue {
  A slope, gain;
  const A* noise;  // of the tile's first pixel, or null
  const A* bias;   // of the panel, whole vectors
  A* y;            // at the panel's first channel
  int64_t start;   // where in y the tile's first pixel lies
  int64_t pixels;  // of y, after which it begins again
  int64_t stride;  // O
  int64_t count;   // channels of this panel that exist

  template <int kPixels, int kVectors>
  DELTAFAST_INLINE void take(int64_t first, Vector<A> (&sums)[kPixels][kVectors]) {
    Vector<A> b[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) b[j] = load(bias + j * kLanes<A>);
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) {
      const Vector<A> shift = splat(noise ? noise[first + i] : A(0));
      int64_t at = start + first + i;
      if (at >= pixels) at -= pixels;
      A* out = y + at * stride;
      fetch_ahead(out + kPixels * stride);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) {
        const Vector<A> u = sums[i][j] + shift + b[j];
        const Vector<A> v = where_positive<A>(u, u, u * splat(slope)) * splat(gain);
        if (count >= kVectors * kLanes<A>) {
          store(out + j * kLanes<A>, v);
        } else if (count > j * kLanes<A>) {
          store_some(out + j * kLanes<A>, v, count - j * kLanes<A>);
        }
      }
    }
  }
};

// One layer at work on some rows of a sample, with the buffers that its thread uses again and
// again.
template <typename A>
class SeparableLayer {
 public:
  explicit SeparableLayer(const SeparableConvParams<A>& params)
      : p_(params),
        input_(params),
        padded_(input_.padded()),
        outputs_(round_up(params.outputs, kPanel<A>)),
        tile_(tile_pixels(padded_)),
        scratch_(tile_ * padded_ + outputs_, 2),
        left_(scratch_.take(tile_ * padded_)),
        bias_(scratch_.take(outputs_)) {
    for (int64_t o = 0; o < outputs_; ++o) bias_[o] = p_.bias && o < p_.outputs ? p_.bias[o] : A(0);
  }

  // Goes on with another sample, or other rows: from `first_row` of the result on, in order. The
  // sample is read from p.x, or, where p.x is null, from `source`; the result goes to p.y or to
  // `target`, both [rows, W] pixels without gaps.
  void begin(int64_t sample, int64_t first_row, Rows<const A> source, Rows<A> target) {
    const int64_t pixels = p_.height * p_.width;
    sample_ = sample;
    target_ = p_.y ? Rows<A>{p_.y + sample * pixels * p_.outputs, p_.height} : target;
    input_.begin(sample, first_row, source);
  }

  // Tiles end at multiples of their size, so that how pixels are grouped, and with it the rounding,
  // depends on the shape alone.
  void run(int64_t first_row, int64_t last_row) {
    const int64_t last = last_row * p_.width;
    for (int64_t pixel = first_row * p_.width; pixel < last;) {
      const int64_t tile_end = (pixel / tile_ + 1) * tile_;
      const int64_t end = smaller(smaller(tile_end, last), pixel + target_.rows * p_.width);
      fill(pixel, end);
      product(pixel, end);
      pixel = end;
    }
  }

 private:
  // The depthwise convolution of pixels [begin, end) of the image, in blocks of channels.
  void fill(int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end;) {
      const int64_t y = pixel / p_.width, x = pixel % p_.width;
      const int64_t x_end = smaller(p_.width, x + end - pixel);
      A* left = left_ + (pixel - begin - x) * kLanes<A>;
      const int64_t stride = tile_;
      auto use = [left, stride](int64_t at, int64_t channel, const auto& sums) {
        A* to = left + channel * stride + at * kLanes<A>;
        for (const Vector<A>& v : sums) {
          store(to, v);
          to += kLanes<A>;
        }
      };
      depthwise_run<A>(input_.rows_around(y), x, x_end, input_.weights(), padded_, use);
      pixel += x_end - x;
    }
  }

  void product(int64_t begin, int64_t end) {
    const A* noise = p_.noise ? p_.noise + sample_ * p_.noise_stride + begin : nullptr;
    const int64_t pixels = target_.rows * p_.width;
    const A* right = p_.packed;
    for (int64_t o = 0; o < outputs_; o += kPanel<A>, right += kPanel<A> * padded_) {
      ForwardEpilogue<A> epilogue{p_.slope,  p_.gain,          noise,
                                  bias_ + o, target_.base + o, begin % pixels,
                                  pixels,    p_.outputs,       p_.outputs - o};
      multiply_panel<A, kPanelVectors>(left_, tile_ * kLanes<A>, right, padded_ / kLanes<A>,
                                       end - begin, epilogue);
    }
  }

  const SeparableConvParams<A>& p_;
  SeparableInput<A> input_;
  const int64_t padded_, outputs_, tile_;
  ScratchBlock<A> scratch_;
  A *left_, *bias_;
  int64_t sample_ = 0;
  Rows<A> target_{};
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
