// The table of one copy of the CPU kernels; compiled once per instruction set (see dispatch.h).

#include "kernels/cpu/instruction_set.h"

#include "kernels/cpu/matrix_tile.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

template <typename A>
DeltaKernels<A> delta_kernels() {
  return {delta_edit<A>,  delta_prepare<A>, delta_embed<A>,
          delta_pairs<A>, delta_collect<A>, delta_weights<A>};
}

}  // namespace

KernelTable kernel_table() {
  return {delta_kernels<float>(),
          delta_kernels<double>(),
          epilogue<float>,
          epilogue<double>,
          epilogue_backward<float>,
          epilogue_backward<double>,
          epilogue_grad_noise<float>,
          epilogue_grad_noise<double>,
          philox4x32_words,
          philox_normal,
          kPanelVectors * int64_t{kVectorBytes},
          pack_panels<float>,
          pack_panels<double>,
          separable_conv<float>,
          separable_conv<double>,
          separable_conv_backward<float>,
          separable_conv_backward<double>,
          filtered_epilogue<float>,
          filtered_epilogue<double>,
          modulated_conv3x3,
          pack_conv3x3,
          to_rgb<float>,
          to_rgb<double>,
          upfirdn2d<float>,
          upfirdn2d<double>,
          wavelet_block<float>,
          wavelet_block<double>,
          wavelet_block_backward<float>,
          wavelet_block_backward<double>,
          wavelet_image<float>,
          wavelet_image<double>,
          wavelet_image_backward<float>,
          wavelet_image_backward<double>};
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
