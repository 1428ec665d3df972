// torch's side of a block of MobileStyleGAN: schema, arguments, dispatch. The kernels are in
// kernels/. There is no gradient: differentiated layers run one by one.

#include "kernels/wavelet_block.h"

#include "ops/separable_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "wavelet_block";

Tensor forward(const Tensor& x, const Tensor& depthwise0, const Tensor& pointwise0,
               const OptionalTensor& noise0, const OptionalTensor& bias0,
               const OptionalTensor& style0, const Tensor& depthwise1, const Tensor& pointwise1,
               const OptionalTensor& noise1, const OptionalTensor& bias1,
               const OptionalTensor& style1, const OptionalTensor& image_weight,
               const OptionalTensor& image_bias, const OptionalTensor& image_style,
               double negative_slope, double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, kName);
    WaveletBlockParams<A> params;
    InputSize size = input_size(x, kName);
    params.first = arguments.separable(size, depthwise0, pointwise0, noise0, bias0, style0, true,
                                       negative_slope, gain);
    size = {size.n, params.first.outputs, 2 * size.h, 2 * size.w};
    params.second = arguments.separable(size, depthwise1, pointwise1, noise1, bias1, style1, false,
                                        negative_slope, gain);
    size.c = params.second.outputs;
    params.with_image = image_weight.has_value();
    if (params.with_image) {
      params.image = arguments.image(size, *image_weight, image_bias, image_style);
    }
    Tensor result =
        params.with_image
            ? new_dense(x, {size.n, params.image.colours, 2 * size.h, 2 * size.w}, arguments.kType)
            : new_image(x, Layout::kNhwc, size.n, size.c, size.h, size.w);
    if (result.numel() == 0) return result;
    params.first.x = arguments.read_image(x, "x");
    auto* out = static_cast<A*>(result.mutable_data_ptr());
    (params.with_image ? params.image.image : params.second.y) = out;
    cpu::wavelet_block(params, parallel_for);
    return result;
  });
}

}  // namespace

void define_wavelet_block(torch::stable::detail::StableLibrary& library) {
  library.def(
      "wavelet_block(Tensor x, Tensor depthwise0, Tensor pointwise0, Tensor? noise0, Tensor? "
      "bias0, Tensor? style0, Tensor depthwise1, Tensor pointwise1, Tensor? noise1, Tensor? bias1, "
      "Tensor? style1, Tensor? image_weight, Tensor? image_bias, Tensor? image_style, float "
      "negative_slope, float gain) -> Tensor");
}

void implement_wavelet_block(torch::stable::detail::StableLibrary& library) {
  library.impl("wavelet_block", TORCH_BOX(&forward));
}

}  // namespace deltafast::ops
