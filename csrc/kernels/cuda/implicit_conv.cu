// CUDA kernels of the implicit matrix product, plain and pointwise: see implicit_conv.cuh.

#include "kernels/cuda/implicit_conv.cuh"

namespace deltafast::cuda {

int implicit_conv_up(const ImplicitConvParams& p, const CudaTarget& target);
int implicit_conv_down(const ImplicitConvParams& p, const CudaTarget& target);

int implicit_conv(const ImplicitConvParams& p, const CudaTarget& target) {
  using Narrow = ConvTile<ConvForm::kPlain, false, 4, 2, 3>;
  using Wide = ConvTile<ConvForm::kPlain, true, 8, 3, 1>;  // with two, 128 registers spill
  using Pointwise = ConvTile<ConvForm::kPointwise, true, 4, 3, 3>;
  if (p.inputs % kPackChannels != 0 || p.epilogue.channels % kPackChannels != 0 ||
      !is_aligned(p.x, kPackBytes) || !is_aligned(p.weight, kPackBytes) ||
      !is_aligned(p.epilogue.y, kPackBytes)) {
    return cudaErrorInvalidValue;
  }
  if (p.rgb.y && (p.form != ConvForm::kPlain || p.rgb.colours > kConvColours ||
                  p.epilogue.channels > conv_tile_size(p.form, p.epilogue.channels).outputs)) {
    return cudaErrorInvalidValue;
  }
  switch (p.form) {
    case ConvForm::kPlain:
      return conv_tile_size(p.form, p.epilogue.channels).outputs == Narrow::kOutputs
                 ? launch_conv<Narrow>(p, target)
                 : launch_conv<Wide>(p, target);
    case ConvForm::kPointwise:
      return launch_conv<Pointwise>(p, target);
    case ConvForm::kUp:
    case ConvForm::kUpFiltered:
      return implicit_conv_up(p, target);
    default:
      return implicit_conv_down(p, target);
  }
}

}  // namespace deltafast::cuda
