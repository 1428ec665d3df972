// torch's side of subband_image: arguments, results. The kernels, for CUDA alone, are in kernels/.

#include "kernels/subband_image.h"

#include "ops/arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "subband_image";

SubbandImageParams shape_of(int64_t n, int64_t subbands, int64_t h, int64_t w) {
  STD_TORCH_CHECK(subbands % 4 == 0, kName, ": x must have 4 K channels");
  SubbandImageParams params;
  params.batch = n;
  params.colours = subbands / 4;
  params.height = h;
  params.width = w;
  return params;
}

Tensor forward(const Tensor& x, const OptionalTensor& bias) {
  const auto [n, c, h, w] = image_size(x, kName);
  SubbandImageParams params = shape_of(n, c, h, w);
  Tensor image = new_dense(x, {n, params.colours, 2 * h, 2 * w}, ScalarType::Float);
  if (image.numel() == 0) return image;
  Arguments<float> arguments(kName, x);
  params.x = arguments.image(x, Layout::kNhwc, "x");
  params.bias = arguments.read(bias, {c}, "bias");
  params.image = static_cast<float*>(image.mutable_data_ptr());
  run_on_cuda(kName, x, [&](const auto& target) { return cuda::subband_image(params, target); });
  return image;
}

// `like` gives the type of x, which the gradient does not tell.
Tensor backward(const Tensor& grad, const Tensor& like) {
  const auto [n, k, h, w] = image_size(grad, kName);
  STD_TORCH_CHECK(h % 2 == 0 && w % 2 == 0, kName, ": the gradient must be [N, K, 2 H, 2 W]");
  SubbandImageParams params = shape_of(n, 4 * k, h / 2, w / 2);
  Tensor grad_x = new_image(like, Layout::kNhwc, n, 4 * k, params.height, params.width);
  if (grad_x.numel() == 0) return grad_x;
  Arguments<float> arguments(kName, like);
  params.grad = arguments.read(grad, {n, k, h, w}, "the gradient");
  params.grad_x = grad_x.mutable_data_ptr();
  run_on_cuda(kName, like,
              [&](const auto& target) { return cuda::subband_image_backward(params, target); });
  return grad_x;
}

DELTAFAST_IMPLEMENT_CUDA(library) {
  library.impl("subband_image", TORCH_BOX(&forward));
  library.impl("subband_image_backward", TORCH_BOX(&backward));
}

}  // namespace
}  // namespace deltafast::ops
