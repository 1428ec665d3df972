// What one copy of the CPU kernels (one instruction set) consists of.
#pragma once

#include <cstdint>

#include "kernels/cpu/dispatch.h"

#ifndef DELTAFAST_ISA
#error "DELTAFAST_ISA names the instruction set that this copy is compiled for"
#endif

namespace deltafast::cpu::DELTAFAST_ISA {

template <typename A>
void delta_edit(const DeltaEditParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void delta_prepare(const DeltaLossParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void delta_embed(const DeltaLossParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void delta_pairs(const DeltaLossParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void delta_collect(const DeltaLossParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void delta_weights(const DeltaLossParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void epilogue(const EpilogueParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void epilogue_backward(const EpilogueParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void epilogue_grad_noise(const EpilogueParams<A>& params, int64_t begin, int64_t end);
void philox4x32_words(const PhiloxParams& params, int64_t begin, int64_t end);
void philox_normal(const NormalParams& params, int64_t begin, int64_t end);
template <typename A>
void pack_panels(const PackParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void separable_conv(const SeparableConvParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void separable_conv_backward(const SeparableConvParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void filtered_epilogue(const FilteredEpilogueParams<A>& params, int64_t begin, int64_t end);
void modulated_conv3x3(const Conv3x3Params& params, int64_t begin, int64_t end);
void pack_conv3x3(const PackConv3x3Params& params, int64_t begin, int64_t end);
template <typename A>
void to_rgb(const ToRgbParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void upfirdn2d(const Upfirdn2dCpuParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void wavelet_block(const WaveletBlockParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void wavelet_block_backward(const WaveletBlockParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void wavelet_image(const WaveletImageParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void wavelet_image_backward(const WaveletImageParams<A>& params, int64_t begin, int64_t end);

}  // namespace deltafast::cpu::DELTAFAST_ISA
