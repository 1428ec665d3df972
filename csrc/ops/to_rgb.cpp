// torch's side of the conversion to an image: arguments, results. The kernels are in kernels/.

#include "kernels/to_rgb.h"

#include "ops/to_rgb_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "to_rgb";

Tensor forward(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
               std::optional<double> clamp, const OptionalTensor& skip, const OptionalTensor& f,
               double filter_gain) {
  const ToRgb rgb{weight, bias, clamp, skip, f, filter_gain};
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    Tensor y = rgb.new_result<A>(kName, x);
    ToRgbParams<A> params;
    const float* values = rgb.read(arguments, kName, image_size(x, kName), y, params);
    if (y.numel() == 0) return y;
    params.x = arguments.image(x, Layout::kNhwc, "x");
    run_kernel<A>(
        kName, x,
        [&] {
          A correlation[kMaxSkipTaps];
          params.filter = correlation_of(values, params.taps, correlation);
          cpu::to_rgb(params, parallel_for);
        },
        [&](const auto& target) {
          params.filter = values;
          return cuda::to_rgb(params, target);
        });
    return y;
  });
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) { library.impl("to_rgb", TORCH_BOX(&forward)); }

}  // namespace
}  // namespace deltafast::ops
