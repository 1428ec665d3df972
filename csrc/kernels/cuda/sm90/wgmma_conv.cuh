// The kernel of implicit_conv.h for sm_90a.
//
// A block is persistent: it takes every so-many-th tile. The first warp of its first group of four
// copies boxes: for each chunk of 64 input channels and each tap, the tile's positions shifted by
// the tap (zeros outside the image are its padding) and the tap's weights, into a ring of stages.
// Two groups of four warps multiply; each stage has a barrier that says that it is full and one
// that says that it is free. Sums stay in registers until the epilogue, which goes to memory as
// boxes.
#pragma once

#include "kernels/cuda/conv_image.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/instructions.cuh"
#include "kernels/cuda/sm90/instructions.cuh"
#include "kernels/cuda/sm90/wgmma_tile.cuh"
#include "kernels/implicit_conv.h"
#include "kernels/shared/activation.h"

namespace deltafast::cuda {

#if DELTAFAST_WARPGROUPS

// A place in the ring of stages, and how often it has come round.
template <typename Tile>
struct Ring {
  int stage = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == Tile::kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

template <typename Tile>
struct SharedOf {
  unsigned first;
  __device__ __forceinline__ unsigned input(int stage) const {
    return first + stage * Tile::kStageBytes;
  }
  __device__ __forceinline__ unsigned weights(int stage, int tap) const {
    return input(stage) + Tile::kInputBytes + tap * Tile::kTapBytes;
  }
  __device__ __forceinline__ unsigned staging(int consumer) const {
    return first + Tile::kStagingAt + consumer * Tile::kStagingBytes;
  }
  __device__ __forceinline__ unsigned full(int stage) const {
    return first + Tile::kBarriersAt + 16 * stage;
  }
  __device__ __forceinline__ unsigned free(int stage) const { return full(stage) + 8; }
};

// One thread copies all boxes of the block's tiles.
template <typename Tile>
__device__ __forceinline__ void produce(const WgMaps& maps, const ImplicitConvParams& p,
                                        const WgWork& work, const SharedOf<Tile>& shared) {
  const int batch = static_cast<int>(p.epilogue.batch);
  Ring<Tile> ring;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < work.tiles; tile += gridDim.x) {
    const WgPlace place = wg_place<Tile>(work, batch, tile);
    if (!wg_exists(p, place)) continue;
    const int items = wg_items(p.form, place.phase);
#pragma unroll 1
    for (int chunk = 0; chunk < work.chunks; ++chunk) {
#pragma unroll 1
      for (int i = 0; i < items; ++i, ring.advance()) {
        const WgItem item = wg_item(p.form, place.phase, i);
        const int stage = ring.stage, channel = chunk * kWgDepth;
        wait_phase(shared.free(stage), ring.parity ^ 1);
        arrive_expecting(shared.full(stage), Tile::kInputBytes + item.taps * Tile::kTapBytes);
        load_box(shared.input(stage), &maps.input[item.view], shared.full(stage), channel,
                 place.x + item.right, place.y - 1, place.sample);
#pragma unroll 1
        for (int t = 0; t < item.taps; ++t) {
          load_box(shared.weights(stage, t), &maps.weights, shared.full(stage), channel,
                   item.first + t * item.step, place.slice * Tile::kOutputs);
        }
      }
    }
  }
}

template <typename T>
__device__ __forceinline__ unsigned pair_of(float first, float second) {
  union {
    Pack<T, 2> both;
    unsigned bits;
  };
  both.at[0] = from_float<T>(first);
  both.at[1] = from_float<T>(second);
  return bits;
}

// The sums of a block of 64 positions, of all output channels of the tile: activated where an
// epilogue follows, to staging memory, and the image to where it belongs. `y` is the row of this
// warp's 16 positions.
template <typename T, typename Tile, bool kActivates>
__device__ __forceinline__ void finish_block(const ImplicitConvParams& p, const WgPlace& place,
                                             int y, unsigned staging,
                                             const float (&sums)[Tile::kSums]) {
  constexpr int kPixels = 2;
  const EpilogueParams<float>& e = p.epilogue;
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes % 4;
  const int x = place.x + lane / 4;
  const int channels = static_cast<int>(e.channels), first = place.slice * Tile::kOutputs;
  float shift[kPixels] = {}, colours[kPixels][kConvColours] = {};
  if (kActivates && e.noise) {
    const float strength = e.strength ? __ldg(e.strength) : 1.0f;
#pragma unroll
    for (int q = 0; q < kPixels; ++q) {
      if (y < p.out_h && x + 8 * q < p.out_w) {
        const int64_t pixel = int64_t(y) * p.out_w + x + 8 * q;
        shift[q] = strength * __ldg(e.noise + place.sample * e.noise_stride + pixel);
      }
    }
  }
  // Of this lane's first channel; others are a fixed number of channels further on.
  const int64_t of_sample = int64_t(place.sample) * channels, mine = first + lane % 4 * 2;
  const float* demod = e.demod ? e.demod + of_sample + mine : nullptr;
  const float* bias = e.bias ? e.bias + mine : nullptr;
  const float* style = e.style ? e.style + of_sample + mine : nullptr;
  const float* weights = p.rgb.y ? p.rgb.weight + of_sample * p.rgb.colours + mine : nullptr;
  // Of this lane's matrix: its row among the 64 positions, and which of two packs of channels.
  const int row = 16 * warp + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
  for (int j = 0; j < Tile::kOutputs / 8; j += 2) {  // packs of eight channels
    if (first + 8 * j >= channels) continue;
    unsigned out[4];
#pragma unroll
    for (int of = 0; of < 2; ++of) {
      const bool exists = first + 8 * (j + of) < channels;
      float v[kPixels][2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int q = 0; q < kPixels; ++q) v[q][i] = sums[4 * (j + of) + 2 * q + i];
        if constexpr (kActivates) {
          const int at = 8 * (j + of) + i;
          const float scale = demod && exists ? __ldg(demod + at) : 1.0f;
          const float added = bias && exists ? __ldg(bias + at) : 0.0f;
          const float next = style && exists ? __ldg(style + at) : 1.0f;
#pragma unroll
          for (int q = 0; q < kPixels; ++q) {
            v[q][i] = activate(e.activation, scale * v[q][i] + shift[q] + added);
          }
          if (weights && exists) {
#pragma unroll
            for (int k = 0; k < kConvColours; ++k) {
              const float weight = k < p.rgb.colours ? __ldg(weights + k * channels + at) : 0.0f;
#pragma unroll
              for (int q = 0; q < kPixels; ++q) colours[q][k] += weight * v[q][i];
            }
          }
#pragma unroll
          for (int q = 0; q < kPixels; ++q) v[q][i] *= next;
        }
      }
      out[2 * of] = pair_of<T>(v[0][0], v[0][1]);
      out[2 * of + 1] = pair_of<T>(v[1][0], v[1][1]);
    }
    const int pack = j + lane / 16;
    store_matrices(
        staging + pack / 8 * kBlockBytes + row * kPositionBytes + (pack % 8 ^ row % 8) * 16, out);
  }
  if constexpr (kActivates) {
    if (p.rgb.y) write_image(p, place.sample, y, x, colours);
  }
}

// Consumer 0 or 1: its blocks of all of the block's tiles.
template <typename T, typename Tile, bool kActivates>
__device__ __forceinline__ void consume(const WgMaps& maps, const ImplicitConvParams& p,
                                        const WgWork& work, const SharedOf<Tile>& shared,
                                        int consumer) {
  const int batch = static_cast<int>(p.epilogue.batch);
  const int thread = threadIdx.x % kGroupThreads;
  const unsigned staging = shared.staging(consumer);
  float sums[Tile::kBlocks][Tile::kSums];
  Ring<Tile> ring;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < work.tiles; tile += gridDim.x) {
    const WgPlace place = wg_place<Tile>(work, batch, tile);
    if (!wg_exists(p, place)) continue;
    const int of_chunk = wg_items(p.form, place.phase), items = work.chunks * of_chunk;
    int before = 0;  // the stage whose products are still on their way
#pragma unroll 1
    for (int i = 0; i < items; ++i, ring.advance()) {
      const WgItem item = wg_item(p.form, place.phase, i % of_chunk);
      wait_phase(shared.full(ring.stage), ring.parity);
#pragma unroll 1
      for (int t = 0; t < item.taps; ++t) {
        const int first_row = item.row + t * item.down + consumer * Tile::kBlocks * kBlockRows;
        const uint64_t input = describe_rows(shared.input(ring.stage) + first_row * kRowBytes);
        const uint64_t weights = describe_rows(shared.weights(ring.stage, t));
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; ++b) hold(sums[b]);
        begin_products();
#pragma unroll
        for (int step = 0; step < kWgDepth / 16; ++step) {
#pragma unroll
          for (int b = 0; b < Tile::kBlocks; ++b) {
            multiply_async<T>(sums[b], input + (b * kBlockBytes + 32 * step) / 16,
                              weights + 32 * step / 16, i > 0 || t > 0 || step > 0);
          }
        }
        commit_products();
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; ++b) hold(sums[b]);
        wait_products<1>();  // but for this tap's
        if (t == 0 && i > 0 && thread % kLanes == 0) arrive(shared.free(before));
      }
      before = ring.stage;
    }
    wait_products<0>();
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; ++b) hold(sums[b]);
    if (thread % kLanes == 0) arrive(shared.free(before));
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; ++b) {
      const int y = place.y + (consumer * Tile::kBlocks + b) * kBlockRows;
      if (thread == 0) wait_stores<0>();
      named_barrier(1 + consumer, kGroupThreads);  // staging memory is free
      finish_block<T, Tile, kActivates>(p, place, y + thread / kLanes, staging, sums[b]);
      show_writes();
      named_barrier(1 + consumer, kGroupThreads);  // and everyone's part is in it
      if (thread == 0 && (!kActivates || p.epilogue.y)) {
#pragma unroll
        for (int part = 0; part < Tile::kParts; ++part) {
          const int channel = place.slice * Tile::kOutputs + kWgDepth * part;
          if (channel < static_cast<int>(p.epilogue.channels)) {
            store_box(&maps.output[place.phase], staging + part * kBlockBytes, channel, place.x, y,
                      place.sample);
          }
        }
        commit_stores();
      }
    }
  }
  if (thread == 0) wait_stores<0>();
}

#endif

template <typename T, typename Tile, bool kActivates>
__global__ void __launch_bounds__(kWgThreads, 1)
    wgmma_conv_kernel(const __grid_constant__ WgMaps maps,
                      const __grid_constant__ ImplicitConvParams p, const WgWork work) {
#if DELTAFAST_WARPGROUPS
  extern __shared__ __align__(16) unsigned char memory[];
  const unsigned above = shared_address(memory) + kSwizzleBytes - 1;
  const SharedOf<Tile> shared{above - above % kSwizzleBytes};
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tile::kStages; ++stage) {
      begin_barrier(shared.full(stage), 1);
      begin_barrier(shared.free(stage), kConsumers * kGroupThreads / kLanes);
    }
    show_barriers();
  }
  __syncthreads();  // barriers have begun
  // 168 registers a thread are 64,512; so are 40 of one group and 232 of two.
  const int group = threadIdx.x / kGroupThreads;
  if (group == 0) {
    give_registers<40>();
    if (threadIdx.x == 0) produce<Tile>(maps, p, work, shared);
  } else {
    take_registers<232>();
    consume<T, Tile, kActivates>(maps, p, work, shared, group - 1);
  }
#elif defined(__CUDA_ARCH__)
  __trap();  // compiled for sm_90a alone
#endif
}

}  // namespace deltafast::cuda
