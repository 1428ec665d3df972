// The work of one thread on one tile of activated_depthwise, step by step.
//
// A tile is 8 x 16 pixels of 8 packs of channels. 256 threads share it: thread t has the pack t % 8
// and the 2 x 2 pixels number t / 8. They are the threads of a block, with a barrier after each
// step.
//
// `E` says how elements are stored: E::Value in memory, E::kCount of them in
// a pack, E::Raw a pack as it lies in memory; E::fetch(base, index) reads one, E::widen(raw,
// float*) converts it, E::load does both, and E::store(base, index, const float*) writes a pack;
// E::coefficients(base, index, otherwise, float*) reads a pack of a small tensor that may be null.
// Packs are fetched several at a time before the first is used, so that enough bytes are under way.
#pragma once

#include <cstdint>

#include "kernels/activated_depthwise.h"
#include "kernels/cuda/element.cuh"
#include "kernels/shared/activation.h"
#include "kernels/shared/macros.h"

namespace deltafast::cuda {

constexpr int kTilePacks = 8;
constexpr int kTileQuads = kDepthwiseTileHeight * kDepthwiseTileWidth / 4;
constexpr int kTileThreads = kTilePacks * kTileQuads;
constexpr int kHaloHeight = kDepthwiseTileHeight + 2;
constexpr int kHaloWidth = kDepthwiseTileWidth + 2;
constexpr int kTaps = 9;

// What the threads of a tile share.
template <typename E>
struct DepthwiseTile {
  alignas(16) typename E::Value pixels[kHaloHeight * kHaloWidth][kTilePacks * E::kCount];
  float taps[kTaps][kTilePacks * E::kCount];
};

// Where a tile lies: its sample, its number in the image, its first pixel and its first channel.
struct TilePlace {
  int64_t sample;
  int64_t tile;
  int y, x;
  int64_t channel;
};

// The 2 x 2 pixels of one pack that a thread works out.
template <typename E>
struct Quad {
  float at[2][2][E::kCount];
};

DELTAFAST_HD int64_t depthwise_groups(const ActivatedDepthwiseParams& p, int64_t count) {
  return (p.channels + kTilePacks * count - 1) / (kTilePacks * count);
}

// Units are counted through the groups of channels first, then through the tiles of an image, then
// through the samples.
template <typename E>
__device__ __forceinline__ TilePlace tile_place(const ActivatedDepthwiseParams& p, int64_t tiles,
                                                int64_t unit) {
  const int64_t groups = depthwise_groups(p, E::kCount);
  const int64_t across = (p.width + kDepthwiseTileWidth - 1) / kDepthwiseTileWidth;
  TilePlace place;
  place.channel = unit % groups * (kTilePacks * E::kCount);
  place.tile = unit / groups % tiles;
  place.sample = unit / groups / tiles;
  place.y = static_cast<int>(place.tile / across) * kDepthwiseTileHeight;
  place.x = static_cast<int>(place.tile % across) * kDepthwiseTileWidth;
  return place;
}

// This thread's first channel; at or past p.channels where it has none.
template <typename E>
__device__ __forceinline__ int64_t own_channel(const TilePlace& place, int thread) {
  return place.channel + thread % kTilePacks * E::kCount;
}

template <typename E>
__device__ __forceinline__ void load_taps(const ActivatedDepthwiseParams& p, const TilePlace& place,
                                          int thread, DepthwiseTile<E>& tile) {
  constexpr int kChannels = kTilePacks * E::kCount;
  for (int i = thread; i < kTaps * kChannels; i += kTileThreads) {
    const int channel = i % kChannels, tap = i / kChannels;
    const bool inside = place.channel + channel < p.channels;
    tile.taps[tap][channel] = inside ? p.taps[(place.channel + channel) * kTaps + tap] : 0.0f;
  }
}

// What is added to u before the activation, for one pixel of u.
__device__ __forceinline__ float noise_of(const ActivatedDepthwiseParams& p, int64_t sample,
                                          int64_t pixel) {
  return p.noise ? p.noise[sample * p.noise_stride + pixel] : 0.0f;
}

// style * v for a pack of u.
template <typename E>
__device__ __forceinline__ void modulate(const ActivatedDepthwiseParams& p,
                                         const typename E::Raw& raw, int64_t sample, int64_t pixel,
                                         int64_t width_of_u, int64_t channel, float* out) {
  const float noise = noise_of(p, sample, pixel);
  float bias[E::kCount], style[E::kCount];
  E::coefficients(p.bias, channel, 0.0f, bias);
  E::coefficients(p.style, sample * width_of_u + channel, 1.0f, style);
  E::widen(raw, out);
#pragma unroll
  for (int j = 0; j < E::kCount; ++j)
    out[j] = activate(p.activation, out[j] + noise + bias[j]) * style[j];
}

template <typename E>
__device__ __forceinline__ void put_pixel(const float* values, int y, int x, int thread,
                                          DepthwiseTile<E>& tile) {
  E::store(tile.pixels[y * kHaloWidth + x], thread % kTilePacks * E::kCount, values);
}

// float pixel of the tile's halo: its number in the halo, and where it lies in an image of `height`
// x `width`; `pixel` is -1 outside the image, or where the number is past the last.
struct HaloPixel {
  int y, x;
  int64_t pixel;
};

__device__ __forceinline__ HaloPixel halo_pixel(const TilePlace& place, int number, int height,
                                                int width) {
  HaloPixel at = {number / kHaloWidth, number % kHaloWidth, -1};
  const int y = place.y + at.y - 1, x = place.x + at.x - 1;
  if (number < kHaloHeight * kHaloWidth && y >= 0 && y < height && x >= 0 && x < width)
    at.pixel = int64_t(y) * width + x;
  return at;
}

// Pixels of the halo for each thread, and how many of them it fetches at a time.
constexpr int kHaloSteps = (kHaloHeight * kHaloWidth + kTileQuads - 1) / kTileQuads;
constexpr int kFetched = 3;
static_assert(kHaloSteps % kFetched == 0);

// Fills the tile and its halo with style * v, or if `Gradient` with the gradient of z; zero outside
// the image.
template <bool Gradient, typename E>
__device__ __forceinline__ void load_pixels(const ActivatedDepthwiseParams& p,
                                            const TilePlace& place, int thread,
                                            DepthwiseTile<E>& tile) {
  const int64_t channel = own_channel<E>(place, thread);
  if (channel >= p.channels) return;
  const int height = static_cast<int>(p.height), width = static_cast<int>(p.width);
  const int64_t first = place.sample * p.height * p.width;
#pragma unroll 1
  for (int begin = 0; begin < kHaloSteps; begin += kFetched) {
    typename E::Raw raw[kFetched] = {};
#pragma unroll
    for (int step = 0; step < kFetched; ++step) {
      const int number = thread / kTilePacks + (begin + step) * kTileQuads;
      const HaloPixel at = halo_pixel(place, number, height, width);
      if (at.pixel >= 0)
        raw[step] = E::fetch(Gradient ? p.grad : p.u, (first + at.pixel) * p.channels + channel);
    }
#pragma unroll
    for (int step = 0; step < kFetched; ++step) {
      const int number = thread / kTilePacks + (begin + step) * kTileQuads;
      const HaloPixel at = halo_pixel(place, number, height, width);
      float values[E::kCount] = {};
      if (at.pixel >= 0) {
        if (Gradient) {
          E::widen(raw[step], values);
        } else {
          modulate<E>(p, raw[step], place.sample, at.pixel, p.channels, channel, values);
        }
      }
      if (number < kHaloHeight * kHaloWidth) put_pixel<E>(values, at.y, at.x, thread, tile);
    }
  }
}

// The same through the inverse wavelet transform: each pixel of u gives 2 x 2 pixels, of which
// those at the rim of the halo are dropped. `y` and `x` of a tile are even, and the image's size
// too, so all four lie inside the image or none.
template <typename E>
__device__ __forceinline__ void load_merged(const ActivatedDepthwiseParams& p,
                                            const TilePlace& place, int thread,
                                            DepthwiseTile<E>& tile) {
  const int64_t channel = own_channel<E>(place, thread);
  if (channel >= p.channels) return;
  constexpr int kHigh = kDepthwiseTileHeight / 2 + 2, kWide = kDepthwiseTileWidth / 2 + 2;
  const int height = static_cast<int>(p.height / 2), width = static_cast<int>(p.width / 2);
  for (int i = thread / kTilePacks; i < kHigh * kWide; i += kTileQuads) {
    const int qy = i / kWide - 1, qx = i % kWide - 1;
    const int y = place.y / 2 + qy, x = place.x / 2 + qx;
    float merged[4][E::kCount] = {};  // top left, top right, bottom left, bottom right
    if (y >= 0 && y < height && x >= 0 && x < width) {
      // Bands: low, vertical (sign by row), horizontal (sign by column), diagonal (by both).
      const int64_t pixel = int64_t(y) * width + x;
      const int64_t first = (place.sample * height * width + pixel) * 4 * p.channels + channel;
      typename E::Raw raw[4];
#pragma unroll
      for (int band = 0; band < 4; ++band) raw[band] = E::fetch(p.u, first + band * p.channels);
#pragma unroll
      for (int band = 0; band < 4; ++band) {
        float values[E::kCount];
        modulate<E>(p, raw[band], place.sample, pixel, 4 * p.channels, band * p.channels + channel,
                    values);
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
          const bool minus = ((band & 1) && corner / 2) != ((band & 2) && corner % 2);
#pragma unroll
          for (int j = 0; j < E::kCount; ++j) merged[corner][j] += minus ? -values[j] : values[j];
        }
      }
    }
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
      const int hy = 2 * qy + corner / 2 + 1, hx = 2 * qx + corner % 2 + 1;
      if (hy >= 0 && hy < kHaloHeight && hx >= 0 && hx < kHaloWidth)
        put_pixel<E>(merged[corner], hy, hx, thread, tile);
    }
  }
}

// Filters this thread's 2 x 2 pixels out of the tile; `Turned` takes the taps the other way round,
// which is what carries a gradient back.
template <bool Turned, typename E>
__device__ __forceinline__ void filter_quad(int thread, const DepthwiseTile<E>& tile,
                                            Quad<E>& quad) {
  const int pack = thread % kTilePacks * E::kCount, number = thread / kTilePacks;
  const int top = number / (kDepthwiseTileWidth / 2) * 2;
  const int left = number % (kDepthwiseTileWidth / 2) * 2;
#pragma unroll
  for (int i = 0; i < 4 * E::kCount; ++i)
    quad.at[i / E::kCount / 2][i / E::kCount % 2][i % E::kCount] = 0;
#pragma unroll 1  // unrolled, it holds too much at a time
  for (int kx = 0; kx < 3; ++kx) {
    float taps[3][E::kCount];
#pragma unroll
    for (int ky = 0; ky < 3; ++ky) {
#pragma unroll
      for (int j = 0; j < E::kCount; ++j) {
        const int tap = ky * 3 + kx;
        taps[ky][j] = tile.taps[Turned ? kTaps - 1 - tap : tap][pack + j];
      }
    }
#pragma unroll
    for (int column = 0; column < 2; ++column) {
#pragma unroll
      for (int row = 0; row < 4; ++row) {
        float values[E::kCount];
        E::load(tile.pixels[(top + row) * kHaloWidth + left + column + kx], pack, values);
#pragma unroll
        for (int ky = 0; ky < 3; ++ky) {
          const int y = row - ky;
          if (y < 0 || y > 1) continue;
#pragma unroll
          for (int j = 0; j < E::kCount; ++j) quad.at[y][column][j] += values[j] * taps[ky][j];
        }
      }
    }
  }
}

// This thread's 2 x 2 pixels begin here.
__device__ __forceinline__ int quad_y(const TilePlace& place, int thread) {
  return place.y + thread / kTilePacks / (kDepthwiseTileWidth / 2) * 2;
}
__device__ __forceinline__ int quad_x(const TilePlace& place, int thread) {
  return place.x + thread / kTilePacks % (kDepthwiseTileWidth / 2) * 2;
}

template <typename E>
__device__ __forceinline__ void store_quad(const ActivatedDepthwiseParams& p,
                                           const TilePlace& place, int thread,
                                           const Quad<E>& quad) {
  const int64_t channel = own_channel<E>(place, thread);
  if (channel >= p.channels) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t y = quad_y(place, thread) + i / 2, x = quad_x(place, thread) + i % 2;
    if (y < p.height && x < p.width) {
      E::store(p.z, ((place.sample * p.height + y) * p.width + x) * p.channels + channel,
               quad.at[i / 2][i % 2]);
    }
  }
}

// Carries `g`, the gradient of style * v at one pack of u, on to u; adds g * v to `sums`.
template <typename E>
__device__ __forceinline__ void gradient_pack(const ActivatedDepthwiseParams& p, int64_t sample,
                                              int64_t pixel, int64_t pixels, int64_t width_of_u,
                                              int64_t channel, const float* g, float* sums) {
  const float noise = noise_of(p, sample, pixel);
  const int64_t at = (sample * pixels + pixel) * width_of_u + channel;
  float values[E::kCount], bias[E::kCount], style[E::kCount];
  E::load(p.u, at, values);
  E::coefficients(p.bias, channel, 0.0f, bias);
  E::coefficients(p.style, sample * width_of_u + channel, 1.0f, style);
#pragma unroll
  for (int j = 0; j < E::kCount; ++j) {
    const float t = values[j] + noise + bias[j];
    const float v = activate_unclamped(p.activation, t);
    sums[j] += g[j] * clamp_symmetric(v, p.activation.clamp);
    values[j] = g[j] * style[j] * activation_slope(p.activation, t, v);
  }
  E::store(p.grad_u, at, values);
}

// Turns the filtered gradient of this thread's pixels into the gradient of u; `sums`, one for each
// channel of the pack, become the sums of g * v over the four pixels.
template <typename E>
__device__ __forceinline__ void backward_quad(const ActivatedDepthwiseParams& p,
                                              const TilePlace& place, int thread,
                                              const Quad<E>& quad, float* sums) {
#pragma unroll
  for (int j = 0; j < E::kCount; ++j) sums[j] = 0;
  const int64_t channel = own_channel<E>(place, thread);
  if (channel >= p.channels) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t y = quad_y(place, thread) + i / 2, x = quad_x(place, thread) + i % 2;
    if (y < p.height && x < p.width) {
      gradient_pack<E>(p, place.sample, y * p.width + x, p.height * p.width, p.channels, channel,
                       quad.at[i / 2][i % 2], sums);
    }
  }
}

// The same through the transposed wavelet transform, for one subband: 2 x 2 pixels give one of u.
template <typename E>
__device__ __forceinline__ void backward_band(const ActivatedDepthwiseParams& p,
                                              const TilePlace& place, int thread, int band,
                                              const Quad<E>& quad, float* sums) {
#pragma unroll
  for (int j = 0; j < E::kCount; ++j) sums[j] = 0;
  const int64_t channel = own_channel<E>(place, thread);
  const int64_t y = quad_y(place, thread), x = quad_x(place, thread);
  if (channel >= p.channels || y >= p.height || x >= p.width) return;
  const float row = (band & 1) ? -1.0f : 1.0f, column = (band & 2) ? -1.0f : 1.0f;
  float g[E::kCount];
#pragma unroll
  for (int j = 0; j < E::kCount; ++j) {
    g[j] = quad.at[0][0][j] + column * quad.at[0][1][j] +
           row * (quad.at[1][0][j] + column * quad.at[1][1][j]);
  }
  gradient_pack<E>(p, place.sample, y / 2 * (p.width / 2) + x / 2, p.height / 2 * (p.width / 2),
                   4 * p.channels, band * p.channels + channel, g, sums);
}

// Adds up the sums of all threads of one pack for the channel number `thread`, in a fixed order.
template <typename E>
__device__ __forceinline__ void reduce_sums(const ActivatedDepthwiseParams& p,
                                            const TilePlace& place, int64_t tiles, int band,
                                            int thread,
                                            const float (*sums)[kTilePacks * E::kCount]) {
  const int64_t channel = place.channel + thread;
  if (thread >= kTilePacks * E::kCount || channel >= p.channels) return;
  float total = 0;
  for (int quad = 0; quad < kTileQuads; ++quad) total += sums[quad][thread];
  const int64_t width_of_u = p.wavelet ? 4 * p.channels : p.channels;
  p.partials[(place.sample * tiles + place.tile) * width_of_u + band * p.channels + channel] =
      total;
}

}  // namespace deltafast::cuda
