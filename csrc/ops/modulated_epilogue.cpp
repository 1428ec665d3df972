// torch's side of the fused epilogue: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/modulated_epilogue.h"

#include <tuple>

#include "ops/device.h"
#include "ops/epilogue_arguments.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "modulated_epilogue";

// The epilogue's own op: x in its own layout.
template <typename A>
struct Arguments : EpilogueArguments<A> {
  Image x;

  Arguments(const Tensor& input, const OptionalTensor& demod, const OptionalTensor& noise,
            const OptionalTensor& strength, const OptionalTensor& bias, const OptionalTensor& style,
            double slope, double gain, std::optional<double> clamp)
      : Arguments(dense_image(input, kName), demod, noise, strength, bias, style, slope, gain,
                  clamp) {}

  Arguments(Image image, const OptionalTensor& demod, const OptionalTensor& noise,
            const OptionalTensor& strength, const OptionalTensor& bias, const OptionalTensor& style,
            double slope, double gain, std::optional<double> clamp)
      : EpilogueArguments<A>(kName, image.tensor, image.tensor.size(0), image.tensor.size(1),
                             image.tensor.size(2), image.tensor.size(3), demod, noise, strength,
                             bias, style, slope, gain, clamp),
        x(image) {
    this->params.channels_last = x.layout == Layout::kNhwc;
    this->params.x = x.tensor.const_data_ptr();
  }
};

Tensor forward(const Tensor& x, const OptionalTensor& demod, const OptionalTensor& noise,
               const OptionalTensor& noise_strength, const OptionalTensor& bias,
               const OptionalTensor& next_style, double negative_slope, double gain,
               std::optional<double> clamp) {
  return with_accumulation_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, demod, noise, noise_strength, bias, next_style, negative_slope, gain,
                           clamp);
    Tensor y = new_image(x, arguments.x.layout, x.size(0), x.size(1), x.size(2), x.size(3));
    if (x.numel() == 0) return y;
    arguments.params.y = y.mutable_data_ptr();
    run_kernel(
        x, kName, [&] { cpu::modulated_epilogue(arguments.params, parallel_for); },
        [&](const CudaTarget& target) {
          return cuda_modulated_epilogue(arguments.params, target);
        });
    return y;
  });
}

std::tuple<Tensor, Tensor, Tensor> backward(
    const Tensor& grad, const Tensor& x, const OptionalTensor& demod, const OptionalTensor& noise,
    const OptionalTensor& noise_strength, const OptionalTensor& bias,
    const OptionalTensor& next_style, double negative_slope, double gain,
    std::optional<double> clamp, bool noise_needs_grad) {
  return with_accumulation_type(x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(x, demod, noise, noise_strength, bias, next_style, negative_slope, gain,
                           clamp);
    EpilogueParams<A>& params = arguments.params;
    STD_TORCH_CHECK(grad.scalar_type() == x.scalar_type(), kName,
                    ": the gradient has another dtype than x");
    const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
    const bool grad_noise_wanted = noise_needs_grad && noise.has_value();
    Tensor grad_x = new_image(x, arguments.x.layout, n, c, h, w);
    Tensor sums = new_dense(x, {n, c, int64_t{kEpilogueSums}}, kAccumulate<A>);
    Tensor grad_noise = new_dense(x, {grad_noise_wanted ? n : 0, 1, h, w}, kAccumulate<A>);
    if (x.numel() == 0) {
      torch::stable::zero_(sums);
      torch::stable::zero_(grad_noise);
      return std::make_tuple(grad_x, sums, grad_noise);
    }
    const ScalarType partial_type = runs_on_cuda(x) ? ScalarType::Float : ScalarType::Double;
    const Tensor partials =
        new_dense(x, {n, c, params.splits, int64_t{kEpilogueSums}}, partial_type);
    const Tensor dense_grad = to_layout(grad, arguments.x.layout);
    params.grad = dense_grad.const_data_ptr();
    params.grad_x = grad_x.mutable_data_ptr();
    params.sums = static_cast<A*>(sums.mutable_data_ptr());
    params.grad_noise =
        grad_noise_wanted ? static_cast<A*>(grad_noise.mutable_data_ptr()) : nullptr;
    params.partials = partials.mutable_data_ptr();
    run_kernel(
        x, kName, [&] { cpu::modulated_epilogue_backward(params, parallel_for); },
        [&](const CudaTarget& target) { return cuda_modulated_epilogue_backward(params, target); });
    return std::make_tuple(grad_x, sums, grad_noise);
  });
}

}  // namespace

void define_modulated_epilogue(torch::stable::detail::StableLibrary& library) {
  library.def(
      "modulated_epilogue(Tensor x, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? "
      "bias, "
      "Tensor? next_style, float negative_slope, float gain, float? clamp) -> Tensor");
  library.def(
      "modulated_epilogue_backward(Tensor grad, Tensor x, Tensor? demod, Tensor? noise, Tensor? "
      "noise_strength, "
      "Tensor? bias, Tensor? next_style, float negative_slope, float gain, float? clamp, bool "
      "noise_needs_grad) "
      "-> (Tensor, Tensor, Tensor)");
}

void implement_modulated_epilogue(torch::stable::detail::StableLibrary& library) {
  library.impl("modulated_epilogue", TORCH_BOX(&forward));
  library.impl("modulated_epilogue_backward", TORCH_BOX(&backward));
}

}  // namespace deltafast::ops
