// What one layer of MobileStyleGAN reads on CPUs: rows of its input as the depthwise convolution
// sees them, and that convolution's weights.
#pragma once

#include "kernels/cpu/depthwise_tile.h"
#include "kernels/cpu/scratch.h"

namespace deltafast::cpu::DELTAFAST_ISA {

constexpr int64_t kPixelsAhead = 8;  // fetched before they are needed

DELTAFAST_HD int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Rows of an image, or a ring of them: row y is found at y % rows.
template <typename A>
struct Rows {
  A* base;
  int64_t rows;
};

// Calls `use(sample, first_row, last_row)` for the rows of each sample that units [begin, end)
// hold, where a unit is a band of rows. Neighbouring bands are worked off as one, so that the rows
// beside a band are computed twice only where two threads meet; sums are still made band by band.
template <typename Use>
DELTAFAST_HD void for_each_sample(int64_t height, int64_t begin, int64_t end, Use use) {
  const int64_t bands = separable_conv_bands(height), rows = separable_conv_band_rows(height);
  for (int64_t unit = begin; unit < end;) {
    const int64_t sample = unit / bands, next = smaller(end, (sample + 1) * bands);
    use(sample, unit % bands * rows, smaller((next - sample * bands) * rows, height));
    unit = next;
  }
}

// Row pair `pair` of inverse_haar(style * x): rows 2 pair and 2 pair + 1, pixels `padded` channels
// wide.
template <typename A>
DELTAFAST_HD void wavelet_rows(const SeparableConvParams<A>& p, const A* image, const A* style,
                               int64_t pair, int64_t padded, A* upper, A* lower) {
  const int64_t half = p.width / 2, c = p.channels;
  for (int64_t pixel = 0; pixel < half; ++pixel) {
    const A* in = image + (pair * half + pixel) * 4 * c;
    for (int64_t channel = 0; channel < padded; channel += kLanes<A>) {
      const int64_t count = c - channel;
      Vector<A> band[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        fetch_ahead(in + (4 * kPixelsAhead + q) * c + channel);
        band[q] = load_some(in + q * c + channel, count) * load(style + q * padded + channel);
      }
      const Vector<A> top = band[0] + band[1], bottom = band[0] - band[1];
      const Vector<A> top_detail = band[2] + band[3], bottom_detail = band[2] - band[3];
      const int64_t at = 2 * pixel * padded + channel;
      store<A>(upper + at, top + top_detail);
      store<A>(upper + at + padded, top - top_detail);
      store<A>(lower + at, bottom + bottom_detail);
      store<A>(lower + at + padded, bottom - bottom_detail);
    }
  }
}

// The input of one layer, of some rows of a sample at a time, with the buffers that its thread uses
// again and again.
template <typename A>
class SeparableInput {
 public:
  explicit SeparableInput(const SeparableConvParams<A>& params)
      : p_(params),
        padded_(round_up(params.channels, kLanes<A>)),
        row_(padded_ * params.width),
        scratch_(14 * padded_ + (params.wavelet ? 4 * row_ : 0), 4),
        weights_(scratch_.take(9 * padded_)),
        style_(scratch_.take(4 * padded_)),
        zeros_(scratch_.take(padded_)),
        rows_(params.wavelet ? scratch_.take(4 * row_) : nullptr) {
    for (int64_t i = 0; i < padded_; ++i) zeros_[i] = 0;
  }

  // Goes on with another sample, or other rows: those around `first_row` and further on, in order.
  // The sample is read from p.x, or, where p.x is null, from `source`.
  void begin(int64_t sample, int64_t first_row, Rows<const A> source) {
    source_ = p_.x ? Rows<const A>{p_.x + sample * p_.height * p_.width * p_.channels, p_.height}
                   : source;
    next_pair_ = (first_row > 0 ? first_row - 1 : 0) / 2;
    take_style(sample);
  }

  // Row y and its neighbours, with the style applied where there is a wavelet.
  ThreeRows<A> rows_around(int64_t y) {
    ThreeRows<A> rows{{nullptr, nullptr, nullptr}, p_.width, p_.channels, p_.channels, zeros_};
    Rows<const A> in = source_;
    if (p_.wavelet) {
      in = {rows_, 4};
      rows.stride = rows.readable = padded_;
      const int64_t last_pair = smaller(y + 1, p_.height - 1) / 2;
      for (; next_pair_ <= last_pair; ++next_pair_) {
        A* upper = rows_ + (next_pair_ % 2) * 2 * row_;
        wavelet_rows(p_, source_.base, style_, next_pair_, padded_, upper, upper + row_);
      }
    }
    for (int r = 0; r < 3; ++r) {
      const int64_t at = y + r - 1;
      if (at >= 0 && at < p_.height) rows.row[r] = in.base + at % in.rows * p_.width * rows.stride;
    }
    return rows;
  }

  // The depthwise weights [9][padded()], with the style in them where there is no wavelet.
  const A* weights() const { return weights_; }
  int64_t padded() const { return padded_; }

 private:
  void take_style(int64_t sample) {
    const int64_t c = p_.channels;
    const A* style = p_.style ? p_.style + sample * c * (p_.wavelet ? 4 : 1) : nullptr;
    for (int64_t channel = 0; channel < padded_; ++channel) {
      const bool exists = channel < c;
      const A scale = exists && style && !p_.wavelet ? style[channel] : A(1);
      for (int tap = 0; tap < 9; ++tap) {
        weights_[tap * padded_ + channel] = exists ? p_.depthwise[channel * 9 + tap] * scale : A(0);
      }
      for (int q = 0; q < 4 && p_.wavelet; ++q) {
        style_[q * padded_ + channel] = exists && style ? style[q * c + channel] : A(1);
      }
    }
  }

  const SeparableConvParams<A>& p_;
  const int64_t padded_, row_;
  ScratchBlock<A> scratch_;
  A *weights_, *style_, *zeros_, *rows_;
  Rows<const A> source_{};
  int64_t next_pair_ = 0;
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
