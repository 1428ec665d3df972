// One layer of MobileStyleGAN on CPUs, worked off in tiles of pixels: the depthwise convolution of
// a tile goes into a buffer that stays in cache, the matrix product takes it from there, and noise,
// bias and activation are applied to the sums while they are in registers, so that the layer's
// input is read and its result written once.
#pragma once

#include "kernels/cpu/depthwise_tile.h"
#include "kernels/cpu/scratch.h"

namespace deltafast::cpu::DELTAFAST_ISA {

constexpr int64_t kPixelsAhead = 8;       // fetched before they are needed
constexpr int64_t kTileElements = 16384;  // of the depthwise result: a tile that stays in cache

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

// One layer at work on some rows of a sample, with the buffers that its thread uses again and
// again.
template <typename A>
class SeparableLayer {
 public:
  explicit SeparableLayer(const SeparableConvParams<A>& params)
      : p_(params),
        padded_(round_up(params.channels, kLanes<A>)),
        outputs_(round_up(params.outputs, kPanel<A>)),
        tile_(tile_pixels(padded_)),
        row_(padded_ * params.width),
        scratch_(tile_ * padded_ + 14 * padded_ + outputs_ + (params.wavelet ? 4 * row_ : 0), 6),
        left_(scratch_.take(tile_ * padded_)),
        weights_(scratch_.take(9 * padded_)),
        style_(scratch_.take(4 * padded_)),
        zeros_(scratch_.take(padded_)),
        bias_(scratch_.take(outputs_)),
        rows_(params.wavelet ? scratch_.take(4 * row_) : nullptr) {
    for (int64_t i = 0; i < padded_; ++i) zeros_[i] = 0;
    for (int64_t o = 0; o < outputs_; ++o) bias_[o] = p_.bias && o < p_.outputs ? p_.bias[o] : A(0);
  }

  // Goes on with another sample, or other rows: from `first_row` of the result on, in order. The
  // sample is read from p.x, or, where p.x is null, from `source`; the result goes to p.y or to
  // `target`, both [rows, W] pixels without gaps.
  void begin(int64_t sample, int64_t first_row, Rows<const A> source, Rows<A> target) {
    const int64_t pixels = p_.height * p_.width;
    sample_ = sample;
    source_ = p_.x ? Rows<const A>{p_.x + sample * pixels * p_.channels, p_.height} : source;
    target_ = p_.y ? Rows<A>{p_.y + sample * pixels * p_.outputs, p_.height} : target;
    next_pair_ = (first_row > 0 ? first_row - 1 : 0) / 2;
    take_style();
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
  // The style lies in the depthwise weights, or is applied before the wavelet.
  void take_style() {
    const int64_t c = p_.channels;
    const A* style = p_.style ? p_.style + sample_ * c * (p_.wavelet ? 4 : 1) : nullptr;
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
      depthwise_run<A>(rows_around(y), x, x_end, weights_, padded_, use);
      pixel += x_end - x;
    }
  }

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
  const int64_t padded_, outputs_, tile_, row_;
  ScratchBlock<A> scratch_;
  A *left_, *weights_, *style_, *zeros_, *bias_, *rows_;
  int64_t sample_ = 0;
  Rows<const A> source_{};
  Rows<A> target_{};
  int64_t next_pair_ = 0;
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
