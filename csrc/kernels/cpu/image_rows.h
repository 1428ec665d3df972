// MobileStyleGAN's image layer on CPUs, worked off in tiles of pixels that stay in cache. The
// inverse wavelet lies in the weights (`fold_wavelet`): the product gives each pixel's 2 x 2
// colours at once.
#pragma once

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/separable_layer.h"
#include "kernels/wavelet_image.h"

namespace deltafast::cpu::DELTAFAST_ISA {

constexpr int64_t kImageTile = 16 * kTilePixels;  // pixels of a tile

// Stores the sums of one vector of results.
template <typename A>
struct ResultEpilogue {
  A* out;  // [pixels][stride], at the vector's first result
  int64_t stride;
  const A* bias;

  template <int kPixels, int kVectors>
  DELTAFAST_INLINE void take(int64_t first, Vector<A> (&sums)[kPixels][kVectors]) {
    static_assert(kVectors == 1);
    const Vector<A> b = load(bias);
#pragma GCC unroll 16
    for (int i = 0; i < kPixels; ++i) store<A>(out + (first + i) * stride, sums[i][0] + b);
  }
};

template <typename A>
class ImageRows {
 public:
  explicit ImageRows(const WaveletImageParams<A>& params)
      : p_(params),
        padded_(round_up(params.channels, kLanes<A>)),
        results_(round_up(4 * params.colours, kLanes<A>)),
        scratch_(kImageTile * (padded_ + results_) + padded_ * results_ + results_, 4),
        left_(scratch_.take(kImageTile * padded_)),
        right_(scratch_.take(padded_ * results_)),
        bias_(scratch_.take(results_)),
        result_(scratch_.take(kImageTile * results_)) {
    for (int64_t r = 0; r < results_; ++r) {
      bias_[r] = r < 4 * p_.colours ? p_.folded[4 * p_.colours * p_.channels + r] : A(0);
    }
  }

  // Goes on with another sample, read from p.x or, where p.x is null, from `source`.
  void begin(int64_t sample, Rows<const A> source) {
    sample_ = sample;
    source_ = p_.x ? Rows<const A>{p_.x + sample * p_.height * p_.width * p_.channels, p_.height}
                   : source;
    take_weights();
  }

  void run(int64_t first_row, int64_t last_row) {
    for (int64_t y = first_row; y < last_row; ++y) {
      for (int64_t x = 0; x < p_.width; x += kImageTile) {
        tile(y, x, smaller(kImageTile, p_.width - x));
      }
    }
  }

 private:
  // The style lies in the weights: [results / kLanes][C][kLanes].
  void take_weights() {
    const A* style = p_.style ? p_.style + sample_ * p_.channels : nullptr;
    A* out = right_;
    for (int64_t first = 0; first < results_; first += kLanes<A>) {
      for (int64_t c = 0; c < padded_; ++c) {
        for (int64_t r = first; r < first + kLanes<A>; ++r) {
          const bool exists = c < p_.channels && r < 4 * p_.colours;
          *out++ = exists ? p_.folded[r * p_.channels + c] * (style ? style[c] : A(1)) : A(0);
        }
      }
    }
  }

  void tile(int64_t y, int64_t x, int64_t count) {
    const A* in = source_.base + (y % source_.rows * p_.width + x) * p_.channels;
    for (int64_t i = 0; i < count; ++i, in += p_.channels) {
      for (int64_t c = 0; c < padded_; c += kLanes<A>) {
        fetch_ahead(in + c + kPixelsAhead * p_.channels);
        store(left_ + c * kImageTile + i * kLanes<A>, load_some(in + c, p_.channels - c));
      }
    }
    for (int64_t r = 0; r < results_; r += kLanes<A>) {
      ResultEpilogue<A> epilogue{result_ + r, results_, bias_ + r};
      multiply_panel<A, 1>(left_, kImageTile * kLanes<A>, right_ + r * padded_, padded_ / kLanes<A>,
                           count, epilogue);
    }
    // Results 2 r and 2 r + 1 lie side by side in row r % 2 of the pair and colour r / 2.
    for (int64_t r = 0; r < 2 * p_.colours; ++r) {
      const int64_t row = (sample_ * p_.colours + r / 2) * 2 * p_.height + 2 * y + r % 2;
      A* out = p_.image + (row * p_.width + x) * 2;
      const A* from = result_ + 2 * r;
      for (int64_t i = 0; i < count; ++i, from += results_) {
        out[2 * i] = from[0];
        out[2 * i + 1] = from[1];
      }
    }
  }

  const WaveletImageParams<A>& p_;
  const int64_t padded_, results_;
  ScratchBlock<A> scratch_;
  A *left_, *right_, *bias_, *result_;
  int64_t sample_ = 0;
  Rows<const A> source_{};
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
