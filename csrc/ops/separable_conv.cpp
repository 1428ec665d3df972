// torch's side of the separable convolution: schema, arguments, dispatch. The kernels are in
// kernels/.

#include "kernels/separable_conv.h"

#include <tuple>

#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "separable_conv";

using OptionalTensor = std::optional<Tensor>;

// Keeps the contiguous copies of the arguments alive for as long as the parameters point into them.
template <typename A>
struct Arguments {
  static constexpr ScalarType kType =
      sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  SeparableConvParams<A> params;
  std::vector<Tensor> kept;

  const A* keep(const OptionalTensor& t, const Tensor& x, std::initializer_list<int64_t> sizes,
                const char* name) {
    if (!t.has_value()) return nullptr;
    kept.push_back(dense_argument(*t, x, kType, sizes, kName, name));
    return static_cast<const A*>(kept.back().const_data_ptr());
  }

  const A* keep_image(const Tensor& t, const char* name) {
    STD_TORCH_CHECK(t.scalar_type() == kType, kName, ": ", name, " has the wrong dtype");
    kept.push_back(to_layout(t, Layout::kNhwc));
    return static_cast<const A*>(kept.back().const_data_ptr());
  }

  Arguments(const Tensor& x, const Tensor& depthwise, const Tensor& pointwise,
            const OptionalTensor& noise, const OptionalTensor& bias, const OptionalTensor& style,
            bool wavelet, double slope, double gain) {
    STD_TORCH_CHECK(x.dim() == 4 && pointwise.dim() == 4, kName,
                    ": x must be [N, C, H, W] and pointwise [O, C, 1, 1]");
    const int64_t factor = wavelet ? 2 : 1;
    params.batch = x.size(0);
    params.channels = x.size(1) / (factor * factor);
    params.outputs = pointwise.size(0);
    params.height = x.size(2) * factor;
    params.width = x.size(3) * factor;
    params.wavelet = wavelet;
    params.slope = static_cast<A>(slope);
    params.gain = static_cast<A>(gain);
    params.x = keep_image(x, "x");
    params.style = keep(style, x, {x.size(0), x.size(1)}, "style");
    params.depthwise = keep(depthwise, x, {params.channels, 1, 3, 3}, "depthwise");
    params.pointwise = keep(pointwise, x, {params.outputs, params.channels, 1, 1}, "pointwise");
    if (noise.has_value()) {
      STD_TORCH_CHECK(noise->dim() == 4, kName, ": noise must be [N or 1, 1, H, W]");
      const int64_t maps = noise->size(0);
      STD_TORCH_CHECK(maps == 1 || maps == params.batch, kName, ": noise must have 1 or N maps");
      params.noise = keep(noise, x, {maps, 1, params.height, params.width}, "noise");
      params.noise_stride = maps == 1 ? 0 : params.height * params.width;
    }
    params.bias = keep(bias, x, {params.outputs}, "bias");
    kept.push_back(
        new_dense(x, {separable_conv_packed_size(params.outputs, params.channels)}, kType));
    params.packed = static_cast<A*>(kept.back().mutable_data_ptr());
  }
};

// Calls `run` with a value of the type of x.
template <typename Run>
auto with_type(const Tensor& x, Run run) {
  return x.scalar_type() == ScalarType::Double ? run(double{}) : run(float{});
}

Tensor forward(const Tensor& x, const Tensor& depthwise, const Tensor& pointwise,
               const OptionalTensor& noise, const OptionalTensor& bias, const OptionalTensor& style,
               bool wavelet, double negative_slope, double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, depthwise, pointwise, noise, bias, style, wavelet, negative_slope,
                           gain);
    SeparableConvParams<A>& params = arguments.params;
    Tensor y =
        new_image(x, Layout::kNhwc, params.batch, params.outputs, params.height, params.width);
    if (y.numel() == 0) return y;
    params.y = static_cast<A*>(y.mutable_data_ptr());
    cpu::separable_conv(params, parallel_for);
    return y;
  });
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& y,
                                    const Tensor& depthwise, const Tensor& pointwise,
                                    const OptionalTensor& style, bool wavelet,
                                    double negative_slope, double gain) {
  return with_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, depthwise, pointwise, std::nullopt, std::nullopt, style, wavelet,
                           negative_slope, gain);
    SeparableConvParams<A>& params = arguments.params;
    Tensor grad_x = new_image(x, Layout::kNhwc, x.size(0), x.size(1), x.size(2), x.size(3));
    Tensor grad_style =
        new_dense(x, {style.has_value() ? x.size(0) : 0, x.size(1)}, arguments.kType);
    if (x.numel() == 0 || params.outputs == 0) {
      torch::stable::zero_(grad_x);
      torch::stable::zero_(grad_style);
      return std::make_tuple(grad_x, grad_style);
    }
    // The kernel only reads y.
    params.y = const_cast<A*>(arguments.keep_image(y, "y"));
    params.grad = arguments.keep_image(grad, "the gradient");
    params.grad_x = static_cast<A*>(grad_x.mutable_data_ptr());
    if (style.has_value()) {
      arguments.kept.push_back(new_dense(
          x, {x.size(0), separable_conv_bands(params.height), x.size(1)}, ScalarType::Double));
      params.partials = static_cast<double*>(arguments.kept.back().mutable_data_ptr());
      params.grad_style = static_cast<A*>(grad_style.mutable_data_ptr());
    }
    cpu::separable_conv_backward(params, parallel_for);
    return std::make_tuple(grad_x, grad_style);
  });
}

}  // namespace

void define_separable_conv(torch::stable::detail::StableLibrary& library) {
  library.def(
      "separable_conv(Tensor x, Tensor depthwise, Tensor pointwise, Tensor? noise, Tensor? bias, "
      "Tensor? style, bool wavelet, float negative_slope, float gain) -> Tensor");
  library.def(
      "separable_conv_backward(Tensor grad, Tensor x, Tensor y, Tensor depthwise, Tensor "
      "pointwise, "
      "Tensor? style, bool wavelet, float negative_slope, float gain) -> (Tensor, Tensor)");
}

void implement_separable_conv(torch::stable::detail::StableLibrary& library) {
  library.impl("separable_conv", TORCH_BOX(&forward));
  library.impl("separable_conv_backward", TORCH_BOX(&backward));
}

}  // namespace deltafast::ops
