// CPU kernel of the modulated 3x3 convolution; compiled once per instruction set (see dispatch.h).
//
// A unit is a chunk of tiles and a group of output channels. Its inputs, styles multiplied in, are
// transformed once into a buffer; then all products of the group are made, combined to outputs, and
// the epilogue writes them: x is read once and y written once.

#include "kernels/modulated_conv3x3.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/matrix_tile.h"
#include "kernels/cpu/scratch.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

using V = Vector<float>;
constexpr int kL = kLanes<float>;
constexpr int kP = kPanel<float>;
constexpr int64_t kTilesAhead = 4;  // whose pixels are fetched before they are needed
constexpr int64_t kApart = 16;  // between planes of a buffer, so that they do not share cache sets

// Stores the sums of one register tile as rows of a panel.
struct StoreSums {
  float* rows;  // [tiles, kP]

  template <int kPixels, int kVectors>
  DELTAFAST_INLINE void take(int64_t first, const V (&sums)[kPixels][kVectors]) {
    for (int i = 0; i < kPixels; ++i) {
      for (int j = 0; j < kVectors; ++j) store<float>(rows + (first + i) * kP + j * kL, sums[i][j]);
    }
  }
};

template <bool kUp>
class Chunk {
 public:
  static constexpr int kIn = kUp ? kUpTileInputs : kPlainTileInputs;
  static constexpr int kOut = kUp ? kUpTileOutputs : kPlainTileOutputs;
  static constexpr int kProducts = kUp ? kUpProducts : kPlainProducts;
  static constexpr int kPlanes = kTransformed * kTransformed;

  Chunk(const Conv3x3Params& params, const Conv3x3Work& work)
      : p_(params),
        work_(work),
        blocks_((params.inputs + kL - 1) / kL),
        plane_(blocks_ * work.chunk * kL + kApart),
        sums_plane_(work.chunk * kP + kApart),
        sums_size_(work.group / kP * kProducts * kProducts * sums_plane_),
        scratch_(kPlanes * plane_ + sums_size_ + 2 * blocks_ * kL, 4),
        inputs_(scratch_.take(kPlanes * plane_)),
        sums_(scratch_.take(sums_size_)),
        style_(scratch_.take(blocks_ * kL)),
        zeros_(scratch_.take(blocks_ * kL)) {
    for (int64_t c = 0; c < blocks_ * kL; ++c) zeros_[c] = 0;
  }

  void run(int64_t unit) {
    const int64_t chunk = unit / work_.groups, group = unit % work_.groups;
    if (chunk != filled_) fill(chunk);
    const int64_t outputs = round_up(p_.epilogue.channels, kConvOutputStep);
    const int64_t steps = outputs / kConvOutputStep;
    const int64_t begin = steps * group / work_.groups * kConvOutputStep;
    const int64_t end = steps * (group + 1) / work_.groups * kConvOutputStep;
    const int64_t last = end < p_.epilogue.channels ? end : p_.epilogue.channels;
    const int64_t inputs = round_up(p_.inputs, kConvInputStep);
    for (int q = 0; q < kProducts * kProducts; ++q) {
      const int plane =
          product_input(kUp, q / kProducts) * kTransformed + product_input(kUp, q % kProducts);
      for (int64_t o = begin; o < last; o += kP) {
        StoreSums sums{sums_of(o - begin, q)};
        multiply_panel<float, kPanelVectors>(inputs_ + plane * plane_, work_.chunk * kL,
                                             p_.packed + (q * outputs + o) * inputs, blocks_,
                                             count_, sums);
      }
    }
    for (int64_t o = begin; o < last; o += kP) finish(o, sums_of(o - begin, 0));
  }

 private:
  struct Place {
    int64_t sample, row, column;  // of the tile, in tiles
  };

  float* sums_of(int64_t output, int product) const {
    return sums_ + (output / kP * kProducts * kProducts + product) * sums_plane_;
  }

  Place place(int64_t tile) const {
    const int64_t row = tile / work_.tiles_w;
    return {row / work_.tiles_h, row % work_.tiles_h, tile % work_.tiles_w};
  }

  // Transforms the inputs of all tiles of a chunk.
  void fill(int64_t chunk) {
    filled_ = chunk;
    first_ = chunk * work_.chunk;
    count_ = work_.tiles - first_ < work_.chunk ? work_.tiles - first_ : work_.chunk;
    int64_t sample = -1;
    for (int64_t i = 0; i < count_; ++i) {
      const Place at = place(first_ + i);
      if (at.sample != sample) take_style(sample = at.sample);
      const float* pixels[kIn * kIn];
      for (int r = 0; r < kIn; ++r) {
        for (int s = 0; s < kIn; ++s) {
          const int64_t y = 2 * at.row + r - 1, x = 2 * at.column + s - 1;
          const bool inside = y >= 0 && y < p_.in_h && x >= 0 && x < p_.in_w;
          pixels[r * kIn + s] =
              inside ? p_.x + ((at.sample * p_.in_h + y) * p_.in_w + x) * p_.inputs : zeros_;
        }
      }
      const int64_t whole = p_.inputs / kL;
      for (int64_t block = 0; block < whole; ++block) {
        transform(pixels, block, i, [](const float* from) { return load(from); });
      }
      const int64_t rest = p_.inputs - whole * kL;
      if (rest > 0) {
        transform(pixels, whole, i, [rest](const float* from) { return load_some(from, rest); });
      }
    }
  }

  void take_style(int64_t sample) {
    for (int64_t c = 0; c < blocks_ * kL; ++c) {
      style_[c] = p_.style && c < p_.inputs ? p_.style[sample * p_.inputs + c] : 1.0f;
    }
  }

  template <typename Load>
  DELTAFAST_INLINE void transform(const float* const* pixels, int64_t block, int64_t tile,
                                  Load load_block) {
    const V style = load(style_ + block * kL);
    V d[kIn * kIn], rows[kIn * kTransformed], v[kPlanes];
#pragma GCC unroll 16
    for (int i = 0; i < kIn * kIn; ++i) {
      const float* from = pixels[i] + block * kL;
      if (i % kIn >= kIn - 2) fetch_ahead(from + kTilesAhead * 2 * p_.inputs);  // new to its tile
      d[i] = load_block(from) * style;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kIn; ++r) transform_input<kUp>(d + r * kIn, 1, rows + r * kTransformed, 1);
#pragma GCC unroll 4
    for (int s = 0; s < kTransformed; ++s) {
      transform_input<kUp>(rows + s, kTransformed, v + s, kTransformed);
    }
    float* out = inputs_ + (block * work_.chunk + tile) * kL;
#pragma GCC unroll 16
    for (int i = 0; i < kPlanes; ++i) store<float>(out + i * plane_, v[i]);
  }

  // The coefficients of one vector of output channels of one sample.
  struct Coefficients {
    V demod, bias, style;
  };

  Coefficients coefficients(int64_t sample, int64_t channel) const {
    const EpilogueParams<float>& e = p_.epilogue;
    const int64_t count = e.channels - channel, row = sample * e.channels + channel;
    const V one = splat(1.0f), zero = splat(0.0f);
    return {e.demod ? load_some(e.demod + row, count) : one,
            e.bias ? load_some(e.bias + channel, count) : zero,
            e.style ? load_some(e.style + row, count) : one};
  }

  // Combines the products of one panel to outputs, and writes them.
  void finish(int64_t o, const float* sums) {
    for (int j = 0; j < kPanelVectors; ++j) {
      const int64_t channel = o + j * kL;
      if (channel >= p_.epilogue.channels) break;
      int64_t sample = -1;
      Coefficients k{};
      for (int64_t i = 0; i < count_; ++i) {
        const Place at = place(first_ + i);
        if (p_.activates && at.sample != sample) k = coefficients(sample = at.sample, channel);
        V m[kProducts * kProducts], rows[kProducts * kOut], y[kOut * kOut];
#pragma GCC unroll 25
        for (int q = 0; q < kProducts * kProducts; ++q) {
          m[q] = load(sums + q * sums_plane_ + i * kP + j * kL);
        }
#pragma GCC unroll 5
        for (int r = 0; r < kProducts; ++r) {
          transform_output<kUp>(m + r * kProducts, 1, rows + r * kOut, 1);
        }
#pragma GCC unroll 4
        for (int s = 0; s < kOut; ++s) transform_output<kUp>(rows + s, kOut, y + s, kOut);
#pragma GCC unroll 4
        for (int r = 0; r < kOut; ++r) {
#pragma GCC unroll 4
          for (int s = 0; s < kOut; ++s) {
            write(at, at.row * kOut + r, at.column * kOut + s, channel, k, y[r * kOut + s]);
          }
        }
      }
    }
  }

  DELTAFAST_INLINE void write(const Place& at, int64_t row, int64_t column, int64_t channel,
                              const Coefficients& k, V v) const {
    if (row >= p_.out_h || column >= p_.out_w) return;
    const EpilogueParams<float>& e = p_.epilogue;
    const int64_t pixel = row * p_.out_w + column;
    if (p_.activates) {
      const float strength = e.strength ? *e.strength : 1.0f;
      const float shift = e.noise ? strength * e.noise[at.sample * e.noise_stride + pixel] : 0.0f;
      const V u = k.demod * v + (k.bias + splat(shift));
      const V limit = splat(e.activation.clamp), low = splat(-e.activation.clamp);
      v = where_positive<float>(u, u, u * splat(e.activation.slope)) * splat(e.activation.gain);
      v = where_positive<float>(v - limit, limit, v);
      v = where_positive<float>(low - v, low, v) * k.style;
    }
    float* y = static_cast<float*>(e.y) + (at.sample * e.pixels + pixel) * e.channels + channel;
    fetch_ahead(y + kTilesAhead * kOut * e.channels);
    store_some<float>(y, v, e.channels - channel);
  }

  const Conv3x3Params& p_;
  const Conv3x3Work work_;
  const int64_t blocks_, plane_, sums_plane_, sums_size_;
  ScratchBlock<float> scratch_;
  float *inputs_, *sums_, *style_, *zeros_;
  int64_t filled_ = -1, first_ = 0, count_ = 0;
};

template <bool kUp>
void run_units(const Conv3x3Params& p, int64_t begin, int64_t end) {
  Chunk<kUp> chunk(p, conv3x3_work(p));
  for (int64_t unit = begin; unit < end; ++unit) chunk.run(unit);
}

template <bool kUp>
void pack_panel(const PackConv3x3Params& p, int64_t panel) {
  constexpr int kProducts = kUp ? kUpProducts : kPlainProducts;
  const int64_t inputs = round_up(p.inputs, kConvInputStep);
  const int64_t outputs = round_up(p.outputs, kConvOutputStep);
  for (int64_t c = 0; c < inputs; ++c) {
    for (int64_t j = 0; j < kP; ++j) {
      const int64_t o = panel * kP + j;
      double g[9] = {}, rows[3 * kProducts], u[kProducts * kProducts];
      for (int t = 0; t < 9 && c < p.inputs && o < p.outputs; ++t) {
        g[t] = p.weight[o * p.inputs * 9 + c * p.channel_step + t * p.tap_step];
      }
      if (p.squares && c < p.inputs && o < p.outputs) {
        double sum = 0;
        for (int t = 0; t < 9; ++t) sum += g[t] * g[t];
        p.squares[o * p.inputs + c] = static_cast<float>(sum);
      }
      for (int r = 0; r < 3; ++r) transform_filter<kUp>(g + r * 3, 1, rows + r * kProducts, 1);
      for (int s = 0; s < kProducts; ++s) {
        transform_filter<kUp>(rows + s, kProducts, u + s, kProducts);
      }
      for (int q = 0; q < kProducts * kProducts; ++q) {
        p.packed[((q * outputs + panel * kP) * inputs) + c * kP + j] = static_cast<float>(u[q]);
      }
    }
  }
}

}  // namespace

void modulated_conv3x3(const Conv3x3Params& p, int64_t begin, int64_t end) {
  p.up ? run_units<true>(p, begin, end) : run_units<false>(p, begin, end);
}

// A unit is kConvOutputStep output channels.
void pack_conv3x3(const PackConv3x3Params& p, int64_t begin, int64_t end) {
  constexpr int64_t kPanels = kConvOutputStep / kP;
  for (int64_t panel = begin * kPanels; panel < end * kPanels; ++panel) {
    p.up ? pack_panel<true>(p, panel) : pack_panel<false>(p, panel);
  }
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
