// The table of one copy of the CPU kernels; compiled once per instruction set (see dispatch.h).

#include "kernels/cpu/instruction_set.h"

#include "kernels/cpu/matrix_tile.h"

namespace deltafast::cpu::DELTAFAST_ISA {

KernelTable kernel_table() {
  return {epilogue<float>,
          epilogue<double>,
          epilogue_backward<float>,
          epilogue_backward<double>,
          epilogue_grad_noise<float>,
          epilogue_grad_noise<double>,
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
          wavelet_image<float>,
          wavelet_image<double>,
          wavelet_image_backward<float>,
          wavelet_image_backward<double>};
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
