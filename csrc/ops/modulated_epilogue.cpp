// torch's side of the fused epilogue: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/modulated_epilogue.h"

#include <limits>
#include <tuple>

#include "ops/device.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "modulated_epilogue";

using OptionalTensor = std::optional<Tensor>;

// Keeps the contiguous copies of the small arguments alive for as long as the parameters point into
// them.
template <typename A>
struct Arguments {
  EpilogueParams<A> params;
  Image x;
  std::vector<Tensor> kept;

  const A* keep(const OptionalTensor& t, std::initializer_list<int64_t> sizes, const char* name) {
    if (!t.has_value()) return nullptr;
    constexpr ScalarType dtype =
        sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
    kept.push_back(dense_argument(*t, x.tensor, dtype, sizes, kName, name));
    return static_cast<const A*>(kept.back().const_data_ptr());
  }

  Arguments(const Tensor& input, const OptionalTensor& demod, const OptionalTensor& noise,
            const OptionalTensor& strength, const OptionalTensor& bias, const OptionalTensor& style,
            double slope, double gain, std::optional<double> clamp)
      : x(dense_image(input, kName)) {
    const int64_t n = input.size(0), c = input.size(1), h = input.size(2), w = input.size(3);
    params.batch = n;
    params.channels = c;
    params.pixels = h * w;
    params.channels_last = x.layout == Layout::kNhwc;
    const double limit = clamp.has_value() ? *clamp : std::numeric_limits<double>::infinity();
    params.activation = {static_cast<A>(slope), static_cast<A>(gain), static_cast<A>(limit)};
    params.x = x.tensor.const_data_ptr();
    params.demod = keep(demod, {n, c}, "demod");
    if (noise.has_value()) {
      STD_TORCH_CHECK(noise->dim() == 4, kName, ": noise must be [N or 1, 1, H, W]");
      const int64_t maps = noise->size(0);
      STD_TORCH_CHECK(maps == 1 || maps == n, kName, ": noise must have 1 or N maps");
      params.noise = keep(noise, {maps, 1, h, w}, "noise");
      params.noise_stride = maps == 1 ? 0 : h * w;
      params.strength = keep(strength, {}, "noise_strength");
    }
    params.bias = keep(bias, {c}, "bias");
    params.style = keep(style, {n, c}, "next_style");
    params.splits = epilogue_splits(params.pixels);
  }
};

// Calls `run` with a value of the accumulation type that belongs to the dtype of x.
template <typename Run>
auto with_accumulation_type(const Tensor& x, Run run) {
  return x.scalar_type() == ScalarType::Double ? run(double{}) : run(float{});
}

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
    constexpr ScalarType kAccumulate =
        sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
    Arguments<A> arguments(x, demod, noise, noise_strength, bias, next_style, negative_slope, gain,
                           clamp);
    EpilogueParams<A>& params = arguments.params;
    STD_TORCH_CHECK(grad.scalar_type() == x.scalar_type(), kName,
                    ": the gradient has another dtype than x");
    const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
    const bool grad_noise_wanted = noise_needs_grad && noise.has_value();
    Tensor grad_x = new_image(x, arguments.x.layout, n, c, h, w);
    Tensor sums = new_dense(x, {n, c, int64_t{kEpilogueSums}}, kAccumulate);
    Tensor grad_noise = new_dense(x, {grad_noise_wanted ? n : 0, 1, h, w}, kAccumulate);
    if (x.numel() == 0) {
      torch::stable::zero_(sums);
      torch::stable::zero_(grad_noise);
      return std::make_tuple(grad_x, sums, grad_noise);
    }
    const ScalarType partial_type = x.is_cuda() ? ScalarType::Float : ScalarType::Double;
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
