// torch's side of the image layer: arguments, results. The kernels, for CPUs alone, are in
// kernels/.

#include "kernels/wavelet_image.h"

#include <tuple>

#include "ops/separable_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "wavelet_image";

Tensor forward(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
               const OptionalTensor& style) {
  const ImageLayer layer{weight, bias, style};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    WaveletImageParams<A> params = layer.read(arguments, kName, image_size(x, kName));
    Tensor image = new_dense(x, {params.batch, params.colours, 2 * params.height, 2 * params.width},
                             arguments.kType);
    if (image.numel() == 0) return image;
    params.x = arguments.template image<A>(x, Layout::kNhwc, "x");
    params.image = static_cast<A*>(image.mutable_data_ptr());
    cpu::wavelet_image(params, parallel_for);
    return image;
  });
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                    const OptionalTensor& style) {
  const ImageLayer layer{weight, std::nullopt, style};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    const ImageSize size = image_size(x, kName);
    WaveletImageParams<A> params = layer.read(arguments, kName, size);
    Tensor grad_x = new_image(x, Layout::kNhwc, size.n, size.c, size.h, size.w);
    Tensor grad_style = new_style_gradient(arguments, x, style.has_value(), size.c, params);
    if (x.numel() == 0 || params.colours == 0) {
      torch::stable::zero_(grad_x);
      torch::stable::zero_(grad_style);
      return std::make_tuple(grad_x, grad_style);
    }
    params.x = arguments.template image<A>(x, Layout::kNhwc, "x");
    params.grad =
        arguments.read(grad, {size.n, params.colours, 2 * size.h, 2 * size.w}, "the gradient");
    params.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    params.packed = arguments.scratch(separable_conv_packed_size(size.c, 4 * params.colours));
    cpu::wavelet_image_backward(params, parallel_for);
    return std::make_tuple(grad_x, grad_style);
  });
}

DELTAFAST_IMPLEMENT_CPU(library) {
  library.impl("wavelet_image", TORCH_BOX(&forward));
  library.impl("wavelet_image_backward", TORCH_BOX(&backward));
}

}  // namespace
}  // namespace deltafast::ops
