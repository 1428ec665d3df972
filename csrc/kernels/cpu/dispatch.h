// Every CPU kernel file is compiled once per instruction set, with DELTAFAST_ISA naming the
// namespace of that copy. The tables below hold the copies; the best one that this processor runs
// is chosen once, at the first call.
#pragma once

#include <cstdint>

#include "kernels/delta_edit.h"
#include "kernels/delta_loss.h"
#include "kernels/filtered_epilogue.h"
#include "kernels/modulated_conv3x3.h"
#include "kernels/modulated_epilogue.h"
#include "kernels/philox.h"
#include "kernels/separable_conv.h"
#include "kernels/to_rgb.h"
#include "kernels/upfirdn2d.h"
#include "kernels/wavelet_block.h"
#include "kernels/wavelet_image.h"

namespace deltafast::cpu {

constexpr int64_t kEditRows = 32;  // latents that one unit of an edit owns

template <typename A>
struct DeltaKernels {
  void (*edit)(const DeltaEditParams<A>&, int64_t begin, int64_t end);
  void (*prepare)(const DeltaLossParams<A>&, int64_t begin, int64_t end);
  void (*embed)(const DeltaLossParams<A>&, int64_t begin, int64_t end);
  void (*pairs)(const DeltaLossParams<A>&, int64_t begin, int64_t end);
  void (*collect)(const DeltaLossParams<A>&, int64_t begin, int64_t end);
  void (*weights)(const DeltaLossParams<A>&, int64_t begin, int64_t end);
};

// Each entry works on a range of units: what one unit is, the kernel's own file says.
struct KernelTable {
  DeltaKernels<float> delta_f32;
  DeltaKernels<double> delta_f64;
  void (*epilogue_f32)(const EpilogueParams<float>&, int64_t begin, int64_t end);
  void (*epilogue_f64)(const EpilogueParams<double>&, int64_t begin, int64_t end);
  void (*epilogue_backward_f32)(const EpilogueParams<float>&, int64_t begin, int64_t end);
  void (*epilogue_backward_f64)(const EpilogueParams<double>&, int64_t begin, int64_t end);
  void (*epilogue_grad_noise_f32)(const EpilogueParams<float>&, int64_t begin, int64_t end);
  void (*epilogue_grad_noise_f64)(const EpilogueParams<double>&, int64_t begin, int64_t end);
  void (*philox4x32)(const PhiloxParams&, int64_t begin, int64_t end);
  void (*philox_normal)(const NormalParams&, int64_t begin, int64_t end);
  int64_t panel_bytes;  // of one row of a packed panel
  void (*pack_panels_f32)(const PackParams<float>&, int64_t begin, int64_t end);
  void (*pack_panels_f64)(const PackParams<double>&, int64_t begin, int64_t end);
  void (*separable_conv_f32)(const SeparableConvParams<float>&, int64_t begin, int64_t end);
  void (*separable_conv_f64)(const SeparableConvParams<double>&, int64_t begin, int64_t end);
  void (*separable_conv_backward_f32)(const SeparableConvParams<float>&, int64_t begin,
                                      int64_t end);
  void (*separable_conv_backward_f64)(const SeparableConvParams<double>&, int64_t begin,
                                      int64_t end);
  void (*filtered_epilogue_f32)(const FilteredEpilogueParams<float>&, int64_t begin, int64_t end);
  void (*filtered_epilogue_f64)(const FilteredEpilogueParams<double>&, int64_t begin, int64_t end);
  void (*modulated_conv3x3)(const Conv3x3Params&, int64_t begin, int64_t end);
  void (*pack_conv3x3)(const PackConv3x3Params&, int64_t begin, int64_t end);
  void (*to_rgb_f32)(const ToRgbParams<float>&, int64_t begin, int64_t end);
  void (*to_rgb_f64)(const ToRgbParams<double>&, int64_t begin, int64_t end);
  void (*upfirdn2d_f32)(const Upfirdn2dCpuParams<float>&, int64_t begin, int64_t end);
  void (*upfirdn2d_f64)(const Upfirdn2dCpuParams<double>&, int64_t begin, int64_t end);
  void (*wavelet_block_f32)(const WaveletBlockParams<float>&, int64_t begin, int64_t end);
  void (*wavelet_block_f64)(const WaveletBlockParams<double>&, int64_t begin, int64_t end);
  void (*wavelet_block_backward_f32)(const WaveletBlockParams<float>&, int64_t begin, int64_t end);
  void (*wavelet_block_backward_f64)(const WaveletBlockParams<double>&, int64_t begin, int64_t end);
  void (*wavelet_image_f32)(const WaveletImageParams<float>&, int64_t begin, int64_t end);
  void (*wavelet_image_f64)(const WaveletImageParams<double>&, int64_t begin, int64_t end);
  void (*wavelet_image_backward_f32)(const WaveletImageParams<float>&, int64_t begin, int64_t end);
  void (*wavelet_image_backward_f64)(const WaveletImageParams<double>&, int64_t begin, int64_t end);
};

namespace baseline {
KernelTable kernel_table();
}
#if defined(DELTAFAST_X86)
namespace avx2 {
KernelTable kernel_table();
}
namespace avx512 {
KernelTable kernel_table();
}
#endif

// The table in use.
const KernelTable& kernels();

// Names of the instruction sets that this build has and this processor runs, best first, ended by
// null.
const char* const* runnable_instruction_sets();

// The instruction set in use, and a way for tests to use another one; false where it is not
// runnable.
const char* instruction_set();
bool use_instruction_set(const char* name);

}  // namespace deltafast::cpu
