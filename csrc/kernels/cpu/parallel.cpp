// The CPU kernels' entry points: they cut the work into units and hand ranges of them to the
// caller's threads.

#include <cstring>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/run_units.h"
#include "kernels/shared/checksum_mix.h"

namespace deltafast::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements that are worth a thread

int64_t grain_of(int64_t elements_per_unit) {
  const int64_t units = kGrain / (elements_per_unit < 1 ? 1 : elements_per_unit);
  return units < 1 ? 1 : units;
}

template <typename K, typename Params>
void run(const K& kernel, const Params& params, int64_t units, int64_t elements_per_unit,
         ParallelFor parallel_for) {
  run_units(kernel, params, units, grain_of(elements_per_unit), parallel_for);
}

}  // namespace

template <typename A>
void modulated_epilogue(const EpilogueParams<A>& p, ParallelFor parallel_for) {
  const auto kernel = kernels().epilogue;
  const int64_t pixels = p.batch * p.pixels;
  if (p.channels_last) {
    run(kernel, p, pixels, p.channels, parallel_for);
  } else {
    run(kernel, p, pixels * p.channels, 1, parallel_for);
  }
}

template <typename A>
void modulated_epilogue_backward(const EpilogueParams<A>& p, ParallelFor parallel_for) {
  const int64_t per_split = p.pixels / p.splits;
  const auto backward = kernels().epilogue_backward;
  if (p.channels_last) {
    run(backward, p, p.batch * p.splits, per_split * p.channels, parallel_for);
  } else {
    run(backward, p, p.batch * p.channels * p.splits, per_split, parallel_for);
  }
  const auto* partials = static_cast<const double*>(p.partials);
  for (int64_t row = 0; row < p.batch * p.channels; ++row) {
    for (int s = 0; s < kEpilogueSums; ++s) {
      double total = 0;
      for (int64_t split = 0; split < p.splits; ++split) {
        total += partials[(row * p.splits + split) * kEpilogueSums + s];
      }
      p.sums[row * kEpilogueSums + s] = static_cast<A>(total);
    }
  }
  if (p.grad_noise) {
    const auto grad_noise = kernels().epilogue_grad_noise;
    run(grad_noise, p, p.batch * p.pixels, p.channels, parallel_for);
  }
}

template <typename A>
void invariant_linear(const InvariantLinearParams<A>& p, ParallelFor parallel_for) {
  const int64_t width = p.transposed ? p.inputs : p.outputs;
  const int64_t depth = p.transposed ? p.outputs : p.inputs;
  const int64_t units = p.groups * ((width + kLinearColumns - 1) / kLinearColumns);
  run(kernels().invariant_linear, p, units, kLinearColumns * depth, parallel_for);
}

template <typename A>
void pack_panels(const PackParams<A>& p, ParallelFor parallel_for) {
  const int64_t panel = kernels().panel_bytes / static_cast<int64_t>(sizeof(A));
  run(kernels().pack_panels, p, (p.outer + panel - 1) / panel, panel * p.inner, parallel_for);
}

// The pointwise weights for the forward pass.
template <typename A>
void pack_pointwise(const SeparableConvParams<A>& p, ParallelFor parallel_for) {
  PackParams<A> pack;
  pack.matrix = p.pointwise;
  pack.inner = pack.stride_outer = p.channels;
  pack.outer = p.outputs;
  pack.stride_inner = 1;
  pack.packed = p.packed;
  pack_panels(pack, parallel_for);
}

// Adds up what the bands of each sample left in `partials`, in the order of the bands.
template <typename A>
void sum_bands(const double* partials, int64_t batch, int64_t bands, int64_t width, A* sums) {
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t i = 0; i < width; ++i) {
      double total = 0;
      for (int64_t band = 0; band < bands; ++band)
        total += partials[(n * bands + band) * width + i];
      sums[n * width + i] = static_cast<A>(total);
    }
  }
}

template <typename A>
void separable_conv(const SeparableConvParams<A>& p, ParallelFor parallel_for) {
  pack_pointwise(p, parallel_for);
  run(kernels().separable_conv, p, p.batch * separable_conv_bands(p.height),
      separable_conv_band_rows(p.height) * p.width * p.channels, parallel_for);
}

// The pointwise weights for the backward pass.
template <typename A>
void pack_transposed(const SeparableConvParams<A>& p, ParallelFor parallel_for) {
  PackParams<A> pack;
  pack.matrix = p.pointwise;
  pack.inner = p.outputs;
  pack.outer = pack.stride_inner = p.channels;
  pack.stride_outer = 1;
  pack.packed = p.packed;
  pack_panels(pack, parallel_for);
}

// The image layer's weights for the backward pass.
template <typename A>
void pack_transposed(const WaveletImageParams<A>& p, ParallelFor parallel_for) {
  fold_wavelet(p);
  PackParams<A> pack;
  pack.matrix = p.folded;
  pack.inner = 4 * p.colours;
  pack.outer = pack.stride_inner = p.channels;
  pack.stride_outer = 1;
  pack.packed = p.packed;
  pack_panels(pack, parallel_for);
}

template <typename A>
void sum_styles(const SeparableConvParams<A>& p) {
  if (!p.partials) return;
  const int64_t width = p.channels * (p.wavelet ? 4 : 1);
  sum_bands(p.partials, p.batch, separable_conv_bands(p.height), width, p.grad_style);
}

template <typename A>
void sum_styles(const WaveletImageParams<A>& p) {
  if (!p.partials) return;
  sum_bands(p.partials, p.batch, separable_conv_bands(p.height), p.channels, p.grad_style);
}

template <typename A>
void separable_conv_backward(const SeparableConvParams<A>& p, ParallelFor parallel_for) {
  pack_transposed(p, parallel_for);
  run(kernels().separable_conv_backward, p, p.batch * separable_conv_bands(p.height),
      separable_conv_band_rows(p.height) * p.width * p.channels, parallel_for);
  sum_styles(p);
}

template <typename A>
void separable_conv_backward_weights(const SeparableConvParams<A>& p, ParallelFor parallel_for) {
  pack_transposed(p, parallel_for);
  const int64_t units = separable_conv_weight_units(p.batch, p.height);
  const int64_t sums = separable_conv_weight_sums(p);
  run(kernels().separable_conv_backward_weights, p, units,
      p.batch * p.height * p.width * p.channels / units, parallel_for);
  const int64_t pointwise = p.outputs * p.channels, depthwise = 9 * p.channels;
  for (int64_t i = 0; i < sums; ++i) {
    double total = 0;
    for (int64_t unit = 0; unit < units; ++unit) total += p.weight_partials[unit * sums + i];
    const int64_t after = i - pointwise;
    A& gradient = after < 0           ? p.grad_pointwise[i]
                  : after < depthwise ? p.grad_depthwise[after]
                                      : p.grad_bias[after - depthwise];
    gradient = static_cast<A>(total);
  }
}

template <typename A>
void wavelet_block(const WaveletBlockParams<A>& p, ParallelFor parallel_for) {
  pack_pointwise(p.first, parallel_for);
  pack_pointwise(p.second, parallel_for);
  if (p.with_image) fold_wavelet(p.image);
  const int64_t height = p.first.height;
  run(kernels().wavelet_block, p, p.first.batch * separable_conv_bands(height),
      separable_conv_band_rows(height) * p.first.width * p.first.channels, parallel_for);
}

template <typename A>
void wavelet_block_backward(const WaveletBlockParams<A>& p, ParallelFor parallel_for) {
  pack_transposed(p.first, parallel_for);
  pack_transposed(p.second, parallel_for);
  if (p.with_image) pack_transposed(p.image, parallel_for);
  const int64_t height = p.first.height;
  run(kernels().wavelet_block_backward, p, p.first.batch * separable_conv_bands(height),
      separable_conv_band_rows(height) * p.first.width * p.first.channels, parallel_for);
  sum_styles(p.first);
  sum_styles(p.second);
  if (p.with_image) sum_styles(p.image);
}

template <typename A>
void wavelet_image(const WaveletImageParams<A>& p, ParallelFor parallel_for) {
  fold_wavelet(p);
  run(kernels().wavelet_image, p, p.batch * separable_conv_bands(p.height),
      separable_conv_band_rows(p.height) * p.width * p.channels, parallel_for);
}

template <typename A>
void wavelet_image_backward(const WaveletImageParams<A>& p, ParallelFor parallel_for) {
  pack_transposed(p, parallel_for);
  run(kernels().wavelet_image_backward, p, p.batch * separable_conv_bands(p.height),
      separable_conv_band_rows(p.height) * p.width * p.channels, parallel_for);
  sum_styles(p);
}

template <typename A>
void filtered_epilogue(const FilteredEpilogueParams<A>& p, ParallelFor parallel_for) {
  run(kernels().filtered_epilogue, p, p.epilogue.batch * p.out_h, p.out_w * p.epilogue.channels,
      parallel_for);
}

void modulated_conv3x3(const Conv3x3Params& p, ParallelFor parallel_for) {
  const Conv3x3Work work = conv3x3_work(p);
  run(kernels().modulated_conv3x3, p, work.chunks * work.groups, work.chunk * p.inputs * 16,
      parallel_for);
}

void pack_conv3x3(const PackConv3x3Params& p, ParallelFor parallel_for) {
  run(kernels().pack_conv3x3, p, (p.outputs + kConvOutputStep - 1) / kConvOutputStep,
      kConvOutputStep * p.inputs, parallel_for);
}

uint64_t checksum(const void* data, int64_t bytes, ParallelFor parallel_for) {
  const int64_t parts = (bytes + kChecksumPart - 1) / kChecksumPart;
  std::vector<uint64_t> sums(static_cast<size_t>(parts));
  const ChecksumParams params{data, bytes, sums.data()};
  run(kernels().checksum, params, parts, kChecksumPart / 8, parallel_for);
  uint64_t total = static_cast<uint64_t>(bytes);
  for (const uint64_t sum : sums) total = checksum_mix(total, sum);
  return total;
}

template <typename A>
void to_rgb(const ToRgbParams<A>& p, ParallelFor parallel_for) {
  run(kernels().to_rgb, p, p.batch * p.height, p.width * p.channels, parallel_for);
}

template <typename A>
void upfirdn2d(const Upfirdn2dCpuParams<A>& p, ParallelFor parallel_for) {
  run(kernels().upfirdn2d, p, p.shape.planes * p.shape.out_h, p.shape.out_w * p.shape.inner,
      parallel_for);
}

DELTAFAST_ENTRY(modulated_epilogue, EpilogueParams)
DELTAFAST_ENTRY(modulated_epilogue_backward, EpilogueParams)
DELTAFAST_ENTRY(separable_conv, SeparableConvParams)
DELTAFAST_ENTRY(separable_conv_backward, SeparableConvParams)
DELTAFAST_ENTRY(separable_conv_backward_weights, SeparableConvParams)
DELTAFAST_ENTRY(filtered_epilogue, FilteredEpilogueParams)
DELTAFAST_ENTRY(invariant_linear, InvariantLinearParams)
DELTAFAST_ENTRY(to_rgb, ToRgbParams)
DELTAFAST_ENTRY(upfirdn2d, Upfirdn2dCpuParams)
DELTAFAST_ENTRY(wavelet_block, WaveletBlockParams)
DELTAFAST_ENTRY(wavelet_block_backward, WaveletBlockParams)
DELTAFAST_ENTRY(wavelet_image, WaveletImageParams)
DELTAFAST_ENTRY(wavelet_image_backward, WaveletImageParams)

}  // namespace deltafast::cpu
