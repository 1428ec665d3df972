// CUDA kernels of the implicit matrix product with stride 2, transposed and not: see
// implicit_conv.cuh.

#include "kernels/cuda/implicit_conv.cuh"

namespace deltafast::cuda {

int implicit_conv_up(const ImplicitConvParams& p, const CudaTarget& target);
int implicit_conv_down(const ImplicitConvParams& p, const CudaTarget& target);

int implicit_conv_up(const ImplicitConvParams& p, const CudaTarget& target) {
  if (p.form == ConvForm::kUp) {
    return launch_conv<ConvTile<ConvForm::kUp, false, 4, 3, 2>>(p, target);
  }
  return launch_conv<ConvTile<ConvForm::kUpFiltered, false, 4, 2, 2>>(p, target);
}

int implicit_conv_down(const ImplicitConvParams& p, const CudaTarget& target) {
  return launch_conv<ConvTile<ConvForm::kDown, false, 4, 2, 3>>(p, target);
}

}  // namespace deltafast::cuda
