// The gradient of one layer of MobileStyleGAN on CPUs, for its input and its styles. The sign of y
// tells which side of the activation an element was on, so nothing is recomputed. A few rows at a
// time, the masked gradient goes through the transposed product into a ring of rows that stays in
// cache; the flipped depthwise convolution, the transposed wavelet, the style and its sums read it
// from there.
#pragma once

#include "kernels/cpu/band_sums.h"
#include "kernels/cpu/separable_layer.h"

namespace deltafast::cpu::DELTAFAST_ISA {

// Stores the product's rows in a ring of `ring_pixels` pixels.
template <typename A>
struct RingEpilogue {
  A* ring;  // at the panel's first channel
  int64_t stride;
  int64_t ring_pixels;
  int64_t start;  // place of the tile's first pixel

  template <int kPixels, int kVectors>
  DELTAFAST_INLINE void take(int64_t first, Vector<A> (&sums)[kPixels][kVectors]) {
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) {
      int64_t at = start + first + i;
      if (at >= ring_pixels) at -= ring_pixels;
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) store(ring + at * stride + j * kLanes<A>, sums[i][j]);
    }
  }
};

// The gradient of one layer at work on some rows of a sample, with the buffers that its thread uses
// again and again.
template <typename A>
class SeparableGradient {
 public:
  // At most `step` rows are absorbed or finished at once.
  SeparableGradient(const SeparableConvParams<A>& params, int64_t step)
      : p_(params),
        outputs_(round_up(params.outputs, kLanes<A>)),
        padded_(round_up(params.channels, kPanel<A>)),
        bands_(params.wavelet ? 4 : 1),
        ring_rows_(step + 2),
        tile_(smaller(step * params.width, 8 * kTilePixels)),
        scratch_(tile_ * outputs_ + (10 + 2 * bands_) * padded_ +
                     (ring_rows_ + (params.wavelet ? 2 : 0)) * params.width * padded_,
                 7),
        left_(scratch_.take(tile_ * outputs_)),
        weights_(scratch_.take(9 * padded_)),
        style_(scratch_.take(bands_ * padded_)),
        sums_(scratch_.take(bands_ * padded_)),
        zeros_(scratch_.take(padded_)),
        ring_(scratch_.take(ring_rows_ * params.width * padded_)),
        rows_(params.wavelet ? scratch_.take(2 * params.width * padded_) : nullptr) {
    for (int64_t channel = 0; channel < padded_; ++channel) {
      zeros_[channel] = 0;
      for (int tap = 0; tap < 9; ++tap) {
        weights_[tap * padded_ + channel] =
            channel < p_.channels ? p_.depthwise[channel * 9 + 8 - tap] : A(0);
      }
    }
    for (int64_t i = 0; i < bands_ * padded_; ++i) sums_[i] = 0;
  }

  // Goes on with another sample. The gradient is read from p.grad, or, where that is null, from
  // `source`; the result goes to p.grad_x or to `target`. p.partials receives the sums over the
  // bands of rows [first_row, last_row) of x * (gradient of style * x), unless it is null.
  void begin(int64_t sample, int64_t first_row, int64_t last_row, Rows<const A> source,
             Rows<A> target) {
    const int64_t pixels = p_.height * p_.width;
    sample_ = sample;
    partials_.begin(p_.partials, sample, p_.height, first_row, last_row, bands_ * p_.channels);
    source_ = p_.grad ? Rows<const A>{p_.grad + sample * pixels * p_.outputs, p_.height} : source;
    target_ = p_.grad_x ? Rows<A>{p_.grad_x + sample * pixels * p_.channels, p_.height} : target;
    take_style();
  }

  // Takes in the gradient of rows [first, last) of the result; rows come in order.
  void absorb(int64_t first, int64_t last) { product(first * p_.width, last * p_.width); }

  // Completes the gradient of rows [first, last), in pairs with the wavelet; the rows beside them
  // have been absorbed.
  void finish(int64_t first, int64_t last) {
    for (int64_t y = first; y < last; y += p_.wavelet ? 2 : 1) {
      p_.wavelet ? finish_wavelet_rows(y) : finish_row(y);
      flush(y);
    }
  }

 private:
  void take_style() {
    const A* style = p_.style ? p_.style + sample_ * bands_ * p_.channels : nullptr;
    for (int64_t q = 0; q < bands_; ++q) {
      for (int64_t channel = 0; channel < padded_; ++channel) {
        const bool given = style && channel < p_.channels;
        style_[q * padded_ + channel] = given ? style[q * p_.channels + channel] : A(1);
      }
    }
  }

  // The gradient of the depthwise result at pixels [begin, end) of the image, into the ring.
  void product(int64_t begin, int64_t end) {
    const int64_t ring_pixels = ring_rows_ * p_.width;
    for (int64_t pixel = begin; pixel < end; pixel += tile_) {
      const int64_t count = smaller(tile_, end - pixel);
      fill(pixel, count);
      const A* right = p_.packed;
      for (int64_t c = 0; c < padded_; c += kPanel<A>, right += kPanel<A> * outputs_) {
        RingEpilogue<A> epilogue{ring_ + c, padded_, ring_pixels, pixel % ring_pixels};
        multiply_panel<A, kPanelVectors>(left_, tile_ * kLanes<A>, right, outputs_ / kLanes<A>,
                                         count, epilogue);
      }
    }
  }

  // The gradient before the activation, in blocks of channels.
  void fill(int64_t pixel, int64_t count) {
    const A* y = p_.y + (sample_ * p_.height * p_.width + pixel) * p_.outputs;
    const int64_t pixels = source_.rows * p_.width, start = pixel % pixels;
    const Vector<A> positive = splat(p_.gain), negative = splat(p_.gain * p_.slope);
    for (int64_t i = 0; i < count; ++i, y += p_.outputs) {
      const int64_t at = start + i < pixels ? start + i : start + i - pixels;
      const A* grad = source_.base + at * p_.outputs;
      for (int64_t o = 0; o < outputs_; o += kLanes<A>) {
        const int64_t some = p_.outputs - o;
        fetch_ahead(y + o + 2 * kPixelsAhead * p_.outputs);
        fetch_ahead(grad + o + 2 * kPixelsAhead * p_.outputs);
        const Vector<A> slope = where_positive<A>(load_some(y + o, some), positive, negative);
        store(left_ + o * tile_ + i * kLanes<A>, load_some(grad + o, some) * slope);
      }
    }
  }

  ThreeRows<A> rows_around(int64_t y) const {
    ThreeRows<A> rows{{nullptr, nullptr, nullptr}, p_.width, padded_, padded_, zeros_};
    for (int r = 0; r < 3; ++r) {
      const int64_t at = y + r - 1;
      if (at < 0 || at >= p_.height) continue;
      rows.row[r] = ring_ + at % ring_rows_ * p_.width * padded_;
    }
    return rows;
  }

  // Applies the style to the gradients `g` of style * x at kPixels pixels, `stride` apart, and adds
  // x * g to the sums.
  template <int kPixels>
  DELTAFAST_INLINE void complete(const A* x, A* grad_x, int64_t stride, int64_t at, int64_t count,
                                 const Vector<A> (&g)[kPixels]) {
    const Vector<A> style = load(style_ + at);
    Vector<A> sum = load(sums_ + at);
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) {
      fetch_ahead(x + (i + kPixels) * stride);
      fetch_ahead(grad_x + (i + kPixels) * stride);
      sum += load_some(x + i * stride, count) * g[i];
      store_some<A>(grad_x + i * stride, g[i] * style, count);
    }
    store<A>(sums_ + at, sum);
  }

  void finish_row(int64_t y) {
    const int64_t c = p_.channels;
    const A* x = p_.x + (sample_ * p_.height + y) * p_.width * c;
    A* grad_x = target_.base + y % target_.rows * p_.width * c;
    auto use = [this, c, x, grad_x](int64_t pixel, int64_t channel, const auto& g) {
      if (channel >= c) return;
      const int64_t at = pixel * c + channel;
      complete(x + at, grad_x + at, c, channel, c - channel, g);
    };
    depthwise_run<A>(rows_around(y), 0, p_.width, weights_, padded_, use);
  }

  void finish_wavelet_rows(int64_t y) {
    const int64_t c = p_.channels, row = p_.width * padded_;
    for (int64_t r = 0; r < 2; ++r) {
      A* out = rows_ + r * row;
      const int64_t stride = padded_;
      auto use = [out, stride](int64_t pixel, int64_t channel, const auto& g) {
        A* to = out + pixel * stride + channel;
        for (const Vector<A>& v : g) {
          store(to, v);
          to += stride;
        }
      };
      depthwise_run<A>(rows_around(y + r), 0, p_.width, weights_, padded_, use);
    }
    const int64_t first = (sample_ * p_.height / 2 + y / 2) * (p_.width / 2) * 4 * c;
    for (int64_t pixel = 0; pixel < p_.width / 2; ++pixel) {
      const A* quad = rows_ + 2 * pixel * padded_;
      for (int64_t channel = 0; channel < c; channel += kLanes<A>) {
        const Vector<A> a = load(quad + channel), b = load(quad + padded_ + channel);
        const Vector<A> d = load(quad + row + channel), e = load(quad + row + padded_ + channel);
        const Vector<A> top = a + b, bottom = d + e, top_detail = a - b, bottom_detail = d - e;
        const Vector<A> g[4] = {top + bottom, top - bottom, top_detail + bottom_detail,
                                top_detail - bottom_detail};
#pragma GCC unroll 4
        for (int64_t q = 0; q < 4; ++q) {
          const int64_t at = first + pixel * 4 * c + q * c + channel;
          const Vector<A> one[1] = {g[q]};
          complete(p_.x + at, p_.grad_x + at, kPixelsAhead * 4 * c, q * padded_ + channel,
                   c - channel, one);
        }
      }
    }
  }

  // Sums of at most two rows are added up in A, everything beyond in double.
  void flush(int64_t y) {
    double* partials = partials_.of_row(y);
    for (int64_t q = 0; q < bands_; ++q) {
      for (int64_t channel = 0; channel < p_.channels; ++channel) {
        A& sum = sums_[q * padded_ + channel];
        if (partials) partials[q * p_.channels + channel] += static_cast<double>(sum);
        sum = 0;
      }
    }
  }

  const SeparableConvParams<A>& p_;
  const int64_t outputs_, padded_, bands_, ring_rows_, tile_;
  ScratchBlock<A> scratch_;
  A *left_, *weights_, *style_, *sums_, *zeros_, *ring_, *rows_;
  int64_t sample_ = 0;
  BandSums partials_;
  Rows<const A> source_{};
  Rows<A> target_{};
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
