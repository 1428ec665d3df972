// The gradient of MobileStyleGAN's image layer on CPUs, worked off in tiles of pixels that stay in
// cache.
#pragma once

#include "kernels/cpu/band_sums.h"
#include "kernels/cpu/image_rows.h"

namespace deltafast::cpu::DELTAFAST_ISA {

// Applies the style to the gradient of style * x, and sums up x times that gradient over the tile.
template <typename A>
struct GradientEpilogue {
  const A* x;  // the tile's first pixel at the panel's first channel
  A* grad_x;
  int64_t stride;  // C
  int64_t count;   // channels of this panel that exist
  const A* style;  // of the panel, whole vectors
  Vector<A> sums[kPanelVectors];

  template <int kPixels, int kVectors>
  DELTAFAST_INLINE void take(int64_t first, Vector<A> (&g)[kPixels][kVectors]) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      const int64_t some = count - j * kLanes<A>;
      if (some <= 0) continue;
      const Vector<A> scale = load(style + j * kLanes<A>);
#pragma GCC unroll 16
      for (int i = 0; i < kPixels; ++i) {
        const int64_t at = (first + i) * stride + j * kLanes<A>;
        fetch_ahead(x + at + kPixels * stride);
        fetch_ahead(grad_x + at + kPixels * stride);
        sums[j] += load_some(x + at, some) * g[i][j];
        store_some<A>(grad_x + at, g[i][j] * scale, some);
      }
    }
  }
};

// The gradient of the image layer at work on some rows of a sample.
template <typename A>
class ImageGradient {
 public:
  explicit ImageGradient(const WaveletImageParams<A>& params)
      : p_(params),
        padded_(round_up(params.channels, kPanel<A>)),
        results_(round_up(4 * params.colours, kLanes<A>)),
        scratch_(kImageTile * results_ + padded_, 2),
        left_(scratch_.take(kImageTile * results_)),
        style_(scratch_.take(padded_)) {
    for (int64_t i = 0; i < kImageTile * results_; ++i) left_[i] = 0;
  }

  // Goes on with another sample. The result goes to p.grad_x, or, where that is null, to `target`;
  // p.partials receives the sums over the bands of rows [first_row, last_row) of x * (gradient of
  // style * x), unless it is null.
  void begin(int64_t sample, int64_t first_row, int64_t last_row, Rows<A> target) {
    sample_ = sample;
    partials_.begin(p_.partials, sample, p_.height, first_row, last_row, p_.channels);
    target_ = p_.grad_x
                  ? Rows<A>{p_.grad_x + sample * p_.height * p_.width * p_.channels, p_.height}
                  : target;
    for (int64_t c = 0; c < padded_; ++c) {
      const bool given = p_.style && c < p_.channels;
      style_[c] = given ? p_.style[sample * p_.channels + c] : A(1);
    }
  }

  void run(int64_t first_row, int64_t last_row) {
    for (int64_t y = first_row; y < last_row; ++y) {
      for (int64_t x = 0; x < p_.width; x += kImageTile) {
        tile(y, x, smaller(kImageTile, p_.width - x));
      }
    }
  }

 private:
  void tile(int64_t y, int64_t x, int64_t count) {
    const int64_t k = p_.colours, c = p_.channels;
    for (int64_t r = 0; r < 2 * k; ++r) {  // the pairs that the forward pass stores
      const int64_t row = (sample_ * k + r / 2) * 2 * p_.height + 2 * y + r % 2;
      const A* from = p_.grad + (row * p_.width + x) * 2;
      A* to = left_ + 2 * r / kLanes<A> * kImageTile * kLanes<A> + 2 * r % kLanes<A>;
      for (int64_t i = 0; i < count; ++i, to += kLanes<A>) {
        to[0] = from[2 * i];
        to[1] = from[2 * i + 1];
      }
    }
    const A* in = p_.x + ((sample_ * p_.height + y) * p_.width + x) * c;
    A* out = target_.base + (y % target_.rows * p_.width + x) * c;
    double* partials = partials_.of_row(y);
    const A* right = p_.packed;
    for (int64_t first = 0; first < padded_; first += kPanel<A>, right += kPanel<A> * results_) {
      GradientEpilogue<A> epilogue{in + first, out + first, c, c - first, style_ + first, {}};
      multiply_panel<A, kPanelVectors>(left_, kImageTile * kLanes<A>, right, results_ / kLanes<A>,
                                       count, epilogue);
      if (!partials) continue;
      A lanes[kPanel<A>];
      for (int j = 0; j < kPanelVectors; ++j) store<A>(lanes + j * kLanes<A>, epilogue.sums[j]);
      for (int64_t j = 0; j < smaller(kPanel<A>, c - first); ++j) {
        partials[first + j] += static_cast<double>(lanes[j]);
      }
    }
  }

  const WaveletImageParams<A>& p_;
  const int64_t padded_, results_;
  ScratchBlock<A> scratch_;
  A *left_, *style_;
  int64_t sample_ = 0;
  BandSums partials_;
  Rows<A> target_{};
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
