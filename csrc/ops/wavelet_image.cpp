// torch's side of the image layer: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/wavelet_image.h"

#include <tuple>

#include "kernels/separable_conv.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "wavelet_image";

using OptionalTensor = std::optional<Tensor>;

// Keeps the contiguous copies of the arguments alive for as long as the parameters point into them.
template <typename A>
struct Arguments {
  static constexpr ScalarType kType =
      sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  WaveletImageParams<A> params;
  std::vector<Tensor> kept;

  const A* keep(const OptionalTensor& t, const Tensor& x, std::initializer_list<int64_t> sizes,
                const char* name) {
    if (!t.has_value()) return nullptr;
    kept.push_back(dense_argument(*t, x, kType, sizes, kName, name));
    return static_cast<const A*>(kept.back().const_data_ptr());
  }

  Arguments(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
            const OptionalTensor& style) {
    STD_TORCH_CHECK(x.dim() == 4 && weight.dim() == 4, kName,
                    ": x must be [N, C, H, W] and weight [4 K, C, 1, 1]");
    STD_TORCH_CHECK(x.scalar_type() == kType, kName, ": x has the wrong dtype");
    params.batch = x.size(0);
    params.channels = x.size(1);
    params.height = x.size(2);
    params.width = x.size(3);
    params.colours = weight.size(0) / 4;
    kept.push_back(to_layout(x, Layout::kNhwc));
    params.x = static_cast<const A*>(kept.back().const_data_ptr());
    params.style = keep(style, x, {params.batch, params.channels}, "style");
    params.weight = keep(weight, x, {4 * params.colours, params.channels, 1, 1}, "weight");
    params.bias = keep(bias, x, {4 * params.colours}, "bias");
  }
};

// Calls `run` with a value of the type of x.
template <typename Run>
auto with_type(const Tensor& x, Run run) {
  return x.scalar_type() == ScalarType::Double ? run(double{}) : run(float{});
}

Tensor forward(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
               const OptionalTensor& style) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, weight, bias, style);
    WaveletImageParams<A>& params = arguments.params;
    Tensor image = new_dense(x, {params.batch, params.colours, 2 * params.height, 2 * params.width},
                             arguments.kType);
    if (image.numel() == 0) return image;
    params.image = static_cast<A*>(image.mutable_data_ptr());
    cpu::wavelet_image(params, parallel_for);
    return image;
  });
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                    const OptionalTensor& style) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, weight, std::nullopt, style);
    WaveletImageParams<A>& params = arguments.params;
    Tensor grad_x = new_image(x, Layout::kNhwc, x.size(0), x.size(1), x.size(2), x.size(3));
    Tensor grad_style =
        new_dense(x, {style.has_value() ? x.size(0) : 0, x.size(1)}, arguments.kType);
    if (x.numel() == 0 || params.colours == 0) {
      torch::stable::zero_(grad_x);
      torch::stable::zero_(grad_style);
      return std::make_tuple(grad_x, grad_style);
    }
    params.grad =
        arguments.keep(grad, x, {params.batch, params.colours, 2 * params.height, 2 * params.width},
                       "the gradient");
    params.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    arguments.kept.push_back(new_dense(
        x, {separable_conv_packed_size(params.channels, 4 * params.colours)}, arguments.kType));
    params.packed = static_cast<A*>(arguments.kept.back().mutable_data_ptr());
    if (style.has_value()) {
      arguments.kept.push_back(
          new_dense(x, {params.batch, separable_conv_bands(params.height), params.channels},
                    ScalarType::Double));
      params.partials = static_cast<double*>(arguments.kept.back().mutable_data_ptr());
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
