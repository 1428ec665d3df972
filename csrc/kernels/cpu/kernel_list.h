// The one list of the CPU kernels. Each works on a range of units (what a unit is, its own file
// says), is compiled once per instruction set, and is called through the table in dispatch.h.
#pragma once

#include "kernels/checksum.h"
#include "kernels/delta_edit.h"
#include "kernels/delta_flow.h"
#include "kernels/delta_loss.h"
#include "kernels/filtered_epilogue.h"
#include "kernels/invariant_linear.h"
#include "kernels/modulated_conv3x3.h"
#include "kernels/modulated_epilogue.h"
#include "kernels/philox.h"
#include "kernels/separable_conv.h"
#include "kernels/to_rgb.h"
#include "kernels/upfirdn2d.h"
#include "kernels/wavelet_block.h"
#include "kernels/wavelet_image.h"

// TYPED(name, Params): template <typename A> void name(const Params<A>&, int64_t begin, int64_t
// end), for float and double.
// PLAIN(name, Params): void name(const Params&, int64_t begin, int64_t end).
#define DELTAFAST_CPU_KERNELS(TYPED, PLAIN)                   \
  PLAIN(checksum, ChecksumParams)                             \
  TYPED(delta_edit, DeltaEditParams)                          \
  TYPED(delta_flow, DeltaFlowParams)                          \
  TYPED(delta_flow_backward, DeltaFlowParams)                 \
  TYPED(delta_flow_edit, DeltaFlowEditParams)                 \
  TYPED(delta_prepare, DeltaLossParams)                       \
  TYPED(delta_embed, DeltaLossParams)                         \
  TYPED(delta_pairs, DeltaLossParams)                         \
  TYPED(delta_collect, DeltaLossParams)                       \
  TYPED(delta_weights, DeltaLossParams)                       \
  TYPED(epilogue, EpilogueParams)                             \
  TYPED(epilogue_backward, EpilogueParams)                    \
  TYPED(epilogue_grad_noise, EpilogueParams)                  \
  TYPED(filtered_epilogue, FilteredEpilogueParams)            \
  TYPED(invariant_linear, InvariantLinearParams)              \
  PLAIN(modulated_conv3x3, Conv3x3Params)                     \
  PLAIN(pack_conv3x3, PackConv3x3Params)                      \
  TYPED(pack_panels, PackParams)                              \
  PLAIN(philox4x32_words, PhiloxParams)                       \
  PLAIN(philox_normal, NormalParams)                          \
  TYPED(separable_conv, SeparableConvParams)                  \
  TYPED(separable_conv_backward, SeparableConvParams)         \
  TYPED(separable_conv_backward_weights, SeparableConvParams) \
  TYPED(to_rgb, ToRgbParams)                                  \
  TYPED(upfirdn2d, Upfirdn2dCpuParams)                        \
  TYPED(wavelet_block, WaveletBlockParams)                    \
  TYPED(wavelet_block_backward, WaveletBlockParams)           \
  TYPED(wavelet_image, WaveletImageParams)                    \
  TYPED(wavelet_image_backward, WaveletImageParams)
