// What one copy of the CPU kernels (one instruction set) consists of.
#pragma once

#include <cstdint>

#include "kernels/cpu/dispatch.h"

#ifndef DELTAFAST_ISA
#error "DELTAFAST_ISA names the instruction set that this copy is compiled for"
#endif

namespace deltafast::cpu::DELTAFAST_ISA {

template <typename A>
void epilogue(const EpilogueParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void epilogue_backward(const EpilogueParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void epilogue_grad_noise(const EpilogueParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void pack_panels(const PackParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void separable_conv(const SeparableConvParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void separable_conv_backward(const SeparableConvParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void upfirdn2d(const Upfirdn2dCpuParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void wavelet_image(const WaveletImageParams<A>& params, int64_t begin, int64_t end);
template <typename A>
void wavelet_image_backward(const WaveletImageParams<A>& params, int64_t begin, int64_t end);

}  // namespace deltafast::cpu::DELTAFAST_ISA
