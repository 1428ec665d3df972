// torch's side of the image layer: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/wavelet_image.h"

#include <tuple>

#include "ops/separable_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "wavelet_image";

Tensor forward(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
               const OptionalTensor& style) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    WaveletImageParams<A> params = arguments.image(input_size(x, kName), weight, bias, style);
    Tensor image = new_dense(x, {params.batch, params.colours, 2 * params.height, 2 * params.width},
                             arguments.kType);
    if (image.numel() == 0) return image;
    params.x = arguments.read_image(x, "x");
    params.image = static_cast<A*>(image.mutable_data_ptr());
    cpu::wavelet_image(params, parallel_for);
    return image;
  });
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                    const OptionalTensor& style) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    const InputSize size = input_size(x, kName);
    WaveletImageParams<A> params = arguments.image(size, weight, std::nullopt, style);
    Tensor grad_x = new_image(x, Layout::kNhwc, size.n, size.c, size.h, size.w);
    Tensor grad_style = new_dense(x, {style.has_value() ? size.n : 0, size.c}, arguments.kType);
    if (x.numel() == 0 || params.colours == 0) {
      torch::stable::zero_(grad_x);
      torch::stable::zero_(grad_style);
      return std::make_tuple(grad_x, grad_style);
    }
    params.x = arguments.read_image(x, "x");
    params.grad =
        arguments.read(grad, {size.n, params.colours, 2 * size.h, 2 * size.w}, "the gradient");
    params.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    params.packed = arguments.scratch(separable_conv_packed_size(size.c, 4 * params.colours));
    if (style.has_value()) {
      const int64_t bands = separable_conv_bands(size.h);
      params.partials = arguments.template scratch<double>(size.n * bands * size.c);
      params.grad_style = static_cast<A*>(grad_style.mutable_data_ptr());
    }
    cpu::wavelet_image_backward(params, parallel_for);
    return std::make_tuple(grad_x, grad_style);
  });
}

}  // namespace

void define_wavelet_image(torch::stable::detail::StableLibrary& library) {
  library.def("wavelet_image(Tensor x, Tensor weight, Tensor? bias, Tensor? style) -> Tensor");
  library.def(
      "wavelet_image_backward(Tensor grad, Tensor x, Tensor weight, Tensor? style) -> (Tensor, "
      "Tensor)");
}

void implement_wavelet_image(torch::stable::detail::StableLibrary& library) {
  library.impl("wavelet_image", TORCH_BOX(&forward));
  library.impl("wavelet_image_backward", TORCH_BOX(&backward));
}

}  // namespace deltafast::ops
