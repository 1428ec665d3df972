// activated_depthwise on the CPU: the steps of the CUDA blocks, each as a loop over the threads of
// a block. It shows without a GPU that these steps are right; the CPU's fast way through the same
// layers is separable_conv.

#include "kernels/shared/activated_depthwise.h"

namespace deltafast::cpu {
namespace {

template <typename A, int Count>
struct Plain {
  using Value = A;
  using Wide = A;
  static constexpr int kCount = Count;

  struct Raw {
    A at[Count];
  };

  static Raw fetch(const void* base, int64_t index) {
    Raw raw;
    for (int j = 0; j < Count; ++j) raw.at[j] = static_cast<const A*>(base)[index + j];
    return raw;
  }

  static void widen(const Raw& raw, A* out) {
    for (int j = 0; j < Count; ++j) out[j] = raw.at[j];
  }

  static void load(const void* base, int64_t index, A* out) { widen(fetch(base, index), out); }

  static void coefficients(const A* base, int64_t index, A otherwise, A* out) {
    for (int j = 0; j < Count; ++j) out[j] = base ? base[index + j] : otherwise;
  }

  static void store(void* base, int64_t index, const A* values) {
    for (int j = 0; j < Count; ++j) static_cast<A*>(base)[index + j] = values[j];
  }
};

template <typename E, typename A>
void forward_tile(const ActivatedDepthwiseParams<A>& p, const TilePlace& place) {
  DepthwiseTile<E> tile;
  for (int thread = 0; thread < kTileThreads; ++thread) {
    load_taps<E>(p, place, thread, tile);
    if (p.wavelet) {
      load_merged<E>(p, place, thread, tile);
    } else {
      load_pixels<false>(p, place, thread, tile);
    }
  }
  for (int thread = 0; thread < kTileThreads; ++thread) {
    Quad<E> quad;
    filter_quad<false>(thread, tile, quad);
    store_quad(p, place, thread, quad);
  }
}

template <typename E, typename A>
void backward_tile(const ActivatedDepthwiseParams<A>& p, const TilePlace& place, int64_t tiles) {
  DepthwiseTile<E> tile;
  Quad<E> quads[kTileThreads];
  A sums[kTileQuads][kTilePacks * E::kCount];
  for (int thread = 0; thread < kTileThreads; ++thread) {
    load_taps<E>(p, place, thread, tile);
    load_pixels<true>(p, place, thread, tile);
  }
  for (int thread = 0; thread < kTileThreads; ++thread)
    filter_quad<true>(thread, tile, quads[thread]);
  for (int band = 0; band < (p.wavelet ? 4 : 1); ++band) {
    for (int thread = 0; thread < kTileThreads; ++thread) {
      A* own = &sums[thread / kTilePacks][thread % kTilePacks * E::kCount];
      if (p.wavelet) {
        backward_band(p, place, thread, band, quads[thread], own);
      } else {
        backward_quad(p, place, thread, quads[thread], own);
      }
    }
    if (!p.partials) continue;
    for (int thread = 0; thread < kTileThreads; ++thread)
      reduce_sums<E>(p, place, tiles, band, thread, sums);
  }
}

template <typename E, typename A>
void run(const ActivatedDepthwiseParams<A>& p, bool backward, ParallelFor parallel_for) {
  struct Work {
    const ActivatedDepthwiseParams<A>* params;
    int64_t tiles;
    bool backward;
  };
  Work work{&p, depthwise_tiles(p.height, p.width), backward};
  const int64_t units = p.batch * work.tiles * depthwise_groups(p, E::kCount);
  parallel_for(
      units, 1,
      [](int64_t begin, int64_t end, void* context) {
        const auto& work = *static_cast<const Work*>(context);
        for (int64_t unit = begin; unit < end; ++unit) {
          const TilePlace place = tile_place<E>(*work.params, work.tiles, unit);
          if (work.backward) {
            backward_tile<E>(*work.params, place, work.tiles);
          } else {
            forward_tile<E>(*work.params, place);
          }
        }
      },
      &work);
}

// As on CUDA: packs of 16 bytes where the channels allow it, else single channels.
template <typename A>
void run(const ActivatedDepthwiseParams<A>& p, bool backward, ParallelFor parallel_for) {
  constexpr int kPack = 16 / sizeof(A);
  if (p.channels % kPack == 0) {
    run<Plain<A, kPack>>(p, backward, parallel_for);
  } else {
    run<Plain<A, 1>>(p, backward, parallel_for);
  }
}

}  // namespace

template <typename A>
void activated_depthwise(const ActivatedDepthwiseParams<A>& p, ParallelFor parallel_for) {
  run(p, false, parallel_for);
}

template <typename A>
void activated_depthwise_backward(const ActivatedDepthwiseParams<A>& p, ParallelFor parallel_for) {
  run(p, true, parallel_for);
  if (!p.grad_style) return;
  const int64_t tiles = depthwise_tiles(p.height, p.width);
  const int64_t width_of_u = p.wavelet ? 4 * p.channels : p.channels;
  for (int64_t i = 0; i < p.batch * width_of_u; ++i) {
    const int64_t sample = i / width_of_u, channel = i % width_of_u;
    double total = 0;
    for (int64_t tile = 0; tile < tiles; ++tile)
      total += p.partials[(sample * tiles + tile) * width_of_u + channel];
    p.grad_style[i] = static_cast<A>(total);
  }
}

template void activated_depthwise<float>(const ActivatedDepthwiseParams<float>&, ParallelFor);
template void activated_depthwise<double>(const ActivatedDepthwiseParams<double>&, ParallelFor);
template void activated_depthwise_backward<float>(const ActivatedDepthwiseParams<float>&,
                                                  ParallelFor);
template void activated_depthwise_backward<double>(const ActivatedDepthwiseParams<double>&,
                                                   ParallelFor);

}  // namespace deltafast::cpu
