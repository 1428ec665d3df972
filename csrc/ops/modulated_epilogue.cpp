// torch's side of the fused epilogue: arguments, results. The kernels are in kernels/.

#include "kernels/modulated_epilogue.h"

#include <tuple>

#include "ops/epilogue_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "modulated_epilogue";

Tensor forward(const Tensor& x, const OptionalTensor& demod, const OptionalTensor& noise,
               const OptionalTensor& noise_strength, const OptionalTensor& bias,
               const OptionalTensor& next_style, double negative_slope, double gain,
               std::optional<double> clamp) {
  const Image image = dense_image(x, kName);
  const ImageSize size = image_size(x, kName);
  const Epilogue epilogue{demod,      noise,          noise_strength, bias,
                          next_style, negative_slope, gain,           clamp};
  Tensor y = new_image(x, image.layout, size.n, size.c, size.h, size.w);
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    EpilogueParams<A> params = epilogue.read(arguments, size);
    if (x.numel() == 0) return y;
    params.channels_last = image.layout == Layout::kNhwc;
    params.x = image.tensor.const_data_ptr();
    params.y = y.mutable_data_ptr();
    run_kernel<A>(
        kName, x, [&] { cpu::modulated_epilogue(params, parallel_for); },
        [&](const auto& target) { return cuda::modulated_epilogue(params, target); });
    return y;
  });
}

std::tuple<Tensor, Tensor, Tensor> backward(
    const Tensor& grad, const Tensor& x, const OptionalTensor& demod, const OptionalTensor& noise,
    const OptionalTensor& noise_strength, const OptionalTensor& bias,
    const OptionalTensor& next_style, double negative_slope, double gain,
    std::optional<double> clamp, bool noise_needs_grad) {
  const Image image = dense_image(x, kName);
  const ImageSize size = image_size(x, kName);
  const Epilogue epilogue{demod,      noise,          noise_strength, bias,
                          next_style, negative_slope, gain,           clamp};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    EpilogueParams<A> params = epilogue.read(arguments, size);
    const auto [n, c, h, w] = size;
    const bool grad_noise_wanted = noise_needs_grad && noise.has_value();
    Tensor grad_x = new_image(x, image.layout, n, c, h, w);
    Tensor sums = new_dense(x, {n, c, int64_t{kEpilogueSums}}, arguments.kType);
    Tensor grad_noise = new_dense(x, {grad_noise_wanted ? n : 0, 1, h, w}, arguments.kType);
    if (x.numel() == 0) {
      torch::stable::zero_(sums);
      torch::stable::zero_(grad_noise);
      return std::make_tuple(grad_x, sums, grad_noise);
    }
    const int64_t partials = n * c * params.splits * kEpilogueSums;
    if (runs_on_cuda(x)) {
      params.partials = arguments.template scratch<float>(partials);
    } else {
      params.partials = arguments.template scratch<double>(partials);
    }
    params.channels_last = image.layout == Layout::kNhwc;
    params.x = image.tensor.const_data_ptr();
    params.grad = arguments.image(grad, image.layout, "the gradient");
    params.grad_x = grad_x.mutable_data_ptr();
    params.sums = static_cast<A*>(sums.mutable_data_ptr());
    params.grad_noise =
        grad_noise_wanted ? static_cast<A*>(grad_noise.mutable_data_ptr()) : nullptr;
    run_kernel<A>(
        kName, x, [&] { cpu::modulated_epilogue_backward(params, parallel_for); },
        [&](const auto& target) { return cuda::modulated_epilogue_backward(params, target); });
    return std::make_tuple(grad_x, sums, grad_noise);
  });
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) {
  library.impl("modulated_epilogue", TORCH_BOX(&forward));
  library.impl("modulated_epilogue_backward", TORCH_BOX(&backward));
}

}  // namespace
}  // namespace deltafast::ops
