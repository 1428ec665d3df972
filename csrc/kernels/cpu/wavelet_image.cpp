// MobileStyleGAN's image layer on CPUs, forward and backward; compiled once per instruction set
// (see dispatch.h). One unit is a band of rows of one sample, worked off in tiles of pixels that
// stay in cache.

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/matrix_tile.h"
#include "kernels/cpu/scratch.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int64_t kTile = 16 * kTilePixels;  // pixels of a tile

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Stores the sums of one vector of subbands.
template <typename A>
struct SubbandEpilogue {
  A* out;  // [pixels][stride], at the vector's first subband
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
class ImageBand {
 public:
  explicit ImageBand(const WaveletImageParams<A>& params)
      : p_(params),
        padded_(round_up(params.channels, kLanes<A>)),
        subbands_(round_up(4 * params.colours, kLanes<A>)),
        scratch_(kTile * (padded_ + subbands_) + padded_ * subbands_ + subbands_, 4),
        left_(scratch_.take(kTile * padded_)),
        right_(scratch_.take(padded_ * subbands_)),
        bias_(scratch_.take(subbands_)),
        result_(scratch_.take(kTile * subbands_)) {
    for (int64_t s = 0; s < subbands_; ++s) {
      bias_[s] = p_.bias && s < 4 * p_.colours ? p_.bias[s] : A(0);
    }
  }

  void run(int64_t sample, int64_t first_row, int64_t last_row) {
    take_weights(sample);
    for (int64_t y = first_row; y < last_row; ++y) {
      for (int64_t x = 0; x < p_.width; x += kTile)
        tile(sample, y, x, smaller(kTile, p_.width - x));
    }
  }

 private:
  // The style lies in the weights: [subbands / kLanes][C][kLanes].
  void take_weights(int64_t sample) {
    const A* style = p_.style ? p_.style + sample * p_.channels : nullptr;
    A* out = right_;
    for (int64_t first = 0; first < subbands_; first += kLanes<A>) {
      for (int64_t c = 0; c < padded_; ++c) {
        for (int64_t s = first; s < first + kLanes<A>; ++s) {
          const bool exists = c < p_.channels && s < 4 * p_.colours;
          *out++ = exists ? p_.weight[s * p_.channels + c] * (style ? style[c] : A(1)) : A(0);
        }
      }
    }
  }

  void tile(int64_t sample, int64_t y, int64_t x, int64_t count) {
    const A* in = p_.x + ((sample * p_.height + y) * p_.width + x) * p_.channels;
    for (int64_t i = 0; i < count; ++i, in += p_.channels) {
      for (int64_t c = 0; c < padded_; c += kLanes<A>) {
        store(left_ + c * kTile + i * kLanes<A>, load_some(in + c, p_.channels - c));
      }
    }
    for (int64_t s = 0; s < subbands_; s += kLanes<A>) {
      SubbandEpilogue<A> epilogue{result_ + s, subbands_, bias_ + s};
      multiply_panel<A, 1>(left_, kTile * kLanes<A>, right_ + s * padded_, padded_ / kLanes<A>,
                           count, epilogue);
    }
    const int64_t wide = 2 * p_.width, k = p_.colours;
    for (int64_t colour = 0; colour < k; ++colour) {
      A* upper = p_.image + ((sample * k + colour) * 2 * p_.height + 2 * y) * wide + 2 * x;
      A* lower = upper + wide;
      for (int64_t i = 0; i < count; ++i) {
        const A* band = result_ + i * subbands_ + colour;
        const A top = band[0] + band[k], bottom = band[0] - band[k];
        const A top_detail = band[2 * k] + band[3 * k], bottom_detail = band[2 * k] - band[3 * k];
        upper[2 * i] = top + top_detail;
        upper[2 * i + 1] = top - top_detail;
        lower[2 * i] = bottom + bottom_detail;
        lower[2 * i + 1] = bottom - bottom_detail;
      }
    }
  }

  const WaveletImageParams<A>& p_;
  const int64_t padded_, subbands_;
  ScratchBlock<A> scratch_;
  A *left_, *right_, *bias_, *result_;
};

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
        subbands_(round_up(4 * params.colours, kLanes<A>)),
        scratch_(kTile * subbands_ + padded_, 2),
        left_(scratch_.take(kTile * subbands_)),
        style_(scratch_.take(padded_)) {
    for (int64_t i = 0; i < kTile * subbands_; ++i) left_[i] = 0;
  }

  void run(int64_t sample, int64_t first_row, int64_t last_row, double* partials) {
    for (int64_t c = 0; c < padded_; ++c) {
      const bool given = p_.style && c < p_.channels;
      style_[c] = given ? p_.style[sample * p_.channels + c] : A(1);
    }
    for (int64_t c = 0; partials && c < p_.channels; ++c) partials[c] = 0;
    for (int64_t y = first_row; y < last_row; ++y) {
      for (int64_t x = 0; x < p_.width; x += kTile) {
        tile(sample, y, x, smaller(kTile, p_.width - x), partials);
      }
    }
  }

 private:
  void tile(int64_t sample, int64_t y, int64_t x, int64_t count, double* partials) {
    const int64_t wide = 2 * p_.width, k = p_.colours, c = p_.channels;
    for (int64_t colour = 0; colour < k; ++colour) {
      const A* upper = p_.grad + ((sample * k + colour) * 2 * p_.height + 2 * y) * wide + 2 * x;
      const A* lower = upper + wide;
      for (int64_t i = 0; i < count; ++i) {
        const A top = upper[2 * i] + upper[2 * i + 1], bottom = lower[2 * i] + lower[2 * i + 1];
        const A top_detail = upper[2 * i] - upper[2 * i + 1];
        const A bottom_detail = lower[2 * i] - lower[2 * i + 1];
        subband(colour, i) = top + bottom;
        subband(k + colour, i) = top - bottom;
        subband(2 * k + colour, i) = top_detail + bottom_detail;
        subband(3 * k + colour, i) = top_detail - bottom_detail;
      }
    }
    const int64_t at = ((sample * p_.height + y) * p_.width + x) * c;
    const A* right = p_.packed;
    for (int64_t first = 0; first < padded_; first += kPanel<A>, right += kPanel<A> * subbands_) {
      GradientEpilogue<A> epilogue{p_.x + at + first, p_.grad_x + at + first, c,
                                   c - first,         style_ + first,         {}};
      multiply_panel<A, kPanelVectors>(left_, kTile * kLanes<A>, right, subbands_ / kLanes<A>,
                                       count, epilogue);
      if (!partials) continue;
      A lanes[kPanel<A>];
      for (int j = 0; j < kPanelVectors; ++j) store<A>(lanes + j * kLanes<A>, epilogue.sums[j]);
      for (int64_t j = 0; j < smaller(kPanel<A>, c - first); ++j) {
        partials[first + j] += static_cast<double>(lanes[j]);
      }
    }
  }

  A& subband(int64_t s, int64_t pixel) {
    return left_[s / kLanes<A> * kTile * kLanes<A> + pixel * kLanes<A> + s % kLanes<A>];
  }

  const WaveletImageParams<A>& p_;
  const int64_t padded_, subbands_;
  ScratchBlock<A> scratch_;
  A *left_, *style_;
};

}  // namespace

template <typename A>
void wavelet_image(const WaveletImageParams<A>& p, int64_t begin, int64_t end) {
  const int64_t bands = separable_conv_bands(p.height), rows = separable_conv_band_rows(p.height);
  ImageBand<A> band(p);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % bands * rows;
    band.run(unit / bands, first, smaller(first + rows, p.height));
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
