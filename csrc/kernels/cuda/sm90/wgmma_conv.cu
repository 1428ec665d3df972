// CUDA kernels of the convolution on warpgroups: see wgmma_conv.cuh. Compiled for sm_90a alone.

#include "kernels/cuda/sm90/wgmma_launch.cuh"

namespace deltafast::cuda {
namespace {

template <typename T>
cudaError_t launch_wgmma(const ImplicitConvParams& p, const CudaTarget& target) {
  using Narrow = WgTile<64>;
  using Wide = WgTile<128>;
  const bool narrow = p.epilogue.channels <= Narrow::kOutputs;
  if (p.activates) {
    return narrow ? launch_wgmma<T, Narrow, true>(p, target)
                  : launch_wgmma<T, Wide, true>(p, target);
  }
  return narrow ? launch_wgmma<T, Narrow, false>(p, target)
                : launch_wgmma<T, Wide, false>(p, target);
}

}  // namespace

int wgmma_conv(const ImplicitConvParams& p, const CudaTarget& target) {
  if (p.inputs % kPackChannels != 0 || p.epilogue.channels % kPackChannels != 0 ||
      p.form == ConvForm::kUpFiltered || !is_aligned(p.x, kPackBytes) ||
      !is_aligned(p.weight, kPackBytes) || !is_aligned(p.epilogue.y, kPackBytes)) {
    return cudaErrorInvalidValue;
  }
  if (p.rgb.y && (p.form != ConvForm::kPlain || p.rgb.colours > kConvColours ||
                  p.epilogue.channels > WgTile<128>::kOutputs)) {
    return cudaErrorInvalidValue;
  }
  switch (target.element) {
    case Element::kHalf:
      return launch_wgmma<__half>(p, target);
    case Element::kBfloat16:
      return launch_wgmma<__nv_bfloat16>(p, target);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace deltafast::cuda
