// MobileStyleGAN's image layer on CPUs, forward and backward; compiled once per instruction set
// (see dispatch.h). One unit is a band of rows of one sample, worked off in tiles of pixels that
// stay in cache.

#include "kernels/cpu/image_rows.h"
#include "kernels/cpu/instruction_set.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

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
        sums[j] += load_some(x + at, some) * g[i][j];
        store_some<A>(grad_x + at, g[i][j] * scale, some);
      }
    }
  }
};

template <typename A>
class ImageGradientBand {
 public:
  explicit ImageGradientBand(const WaveletImageParams<A>& params)
      : p_(params),
        padded_(round_up(params.channels, kPanel<A>)),
        results_(round_up(4 * params.colours, kLanes<A>)),
        scratch_(kImageTile * results_ + padded_, 2),
        left_(scratch_.take(kImageTile * results_)),
        style_(scratch_.take(padded_)) {
    for (int64_t i = 0; i < kImageTile * results_; ++i) left_[i] = 0;
  }

  void run(int64_t sample, int64_t first_row, int64_t last_row, double* partials) {
    for (int64_t c = 0; c < padded_; ++c) {
      const bool given = p_.style && c < p_.channels;
      style_[c] = given ? p_.style[sample * p_.channels + c] : A(1);
    }
    for (int64_t c = 0; partials && c < p_.channels; ++c) partials[c] = 0;
    for (int64_t y = first_row; y < last_row; ++y) {
      for (int64_t x = 0; x < p_.width; x += kImageTile) {
        tile(sample, y, x, smaller(kImageTile, p_.width - x), partials);
      }
    }
  }

 private:
  void tile(int64_t sample, int64_t y, int64_t x, int64_t count, double* partials) {
    const int64_t k = p_.colours, c = p_.channels;
    for (int64_t r = 0; r < 2 * k; ++r) {  // the pairs that the forward pass stores
      const int64_t row = (sample * k + r / 2) * 2 * p_.height + 2 * y + r % 2;
      const A* from = p_.grad + (row * p_.width + x) * 2;
      A* to = left_ + 2 * r / kLanes<A> * kImageTile * kLanes<A> + 2 * r % kLanes<A>;
      for (int64_t i = 0; i < count; ++i, to += kLanes<A>) {
        to[0] = from[2 * i];
        to[1] = from[2 * i + 1];
      }
    }
    const int64_t at = ((sample * p_.height + y) * p_.width + x) * c;
    const A* right = p_.packed;
    for (int64_t first = 0; first < padded_; first += kPanel<A>, right += kPanel<A> * results_) {
      GradientEpilogue<A> epilogue{p_.x + at + first, p_.grad_x + at + first, c,
                                   c - first,         style_ + first,         {}};
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
};

}  // namespace

template <typename A>
void wavelet_image(const WaveletImageParams<A>& p, int64_t begin, int64_t end) {
  const int64_t bands = separable_conv_bands(p.height), rows = separable_conv_band_rows(p.height);
  ImageRows<A> image(p);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % bands * rows;
    image.begin(unit / bands, {});
    image.run(first, smaller(first + rows, p.height));
  }
}

template <typename A>
void wavelet_image_backward(const WaveletImageParams<A>& p, int64_t begin, int64_t end) {
  const int64_t bands = separable_conv_bands(p.height), rows = separable_conv_band_rows(p.height);
  ImageGradientBand<A> band(p);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % bands * rows;
    band.run(unit / bands, first, smaller(first + rows, p.height),
             p.partials ? p.partials + unit * p.channels : nullptr);
  }
}

template void wavelet_image<float>(const WaveletImageParams<float>&, int64_t, int64_t);
template void wavelet_image<double>(const WaveletImageParams<double>&, int64_t, int64_t);
template void wavelet_image_backward<float>(const WaveletImageParams<float>&, int64_t, int64_t);
template void wavelet_image_backward<double>(const WaveletImageParams<double>&, int64_t, int64_t);

}  // namespace deltafast::cpu::DELTAFAST_ISA
