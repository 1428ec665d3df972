// torch's side of the conversion to an image: schema, arguments, dispatch. The kernels are in
// kernels/.

#include "kernels/to_rgb.h"

#include "ops/device.h"
#include "ops/tensor.h"
#include "ops/to_rgb_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "to_rgb";

Tensor forward(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
               std::optional<double> clamp, const OptionalTensor& skip, const OptionalTensor& f,
               double filter_gain) {
  STD_TORCH_CHECK(x.dim() == 4, kName, ": x must be [N, C, H, W]");
  const Tensor image = to_layout(x, Layout::kNhwc);
  return with_accumulation_type(x, [&](auto zero) {
    using A = decltype(zero);
    ToRgbArguments<A> arguments(kName, x, weight, bias, clamp, skip, f, filter_gain);
    if (arguments.y.numel() == 0) return arguments.y;
    ToRgbParams<A>& params = arguments.params;
    params.x = image.const_data_ptr();
    run_kernel(
        x, kName,
        [&] {
          A correlation[kMaxSkipTaps];
          for (int t = 0; t < params.taps; ++t) {
            correlation[t] = static_cast<A>(arguments.values[params.taps - 1 - t]);
          }
          params.filter = correlation;
          cpu::to_rgb(params, parallel_for);
        },
        [&](const CudaTarget& target) {
          params.filter = reinterpret_cast<const A*>(arguments.values);
          return cuda_to_rgb(params, target);
        });
    return arguments.y;
  });
}

}  // namespace

void define_to_rgb(torch::stable::detail::StableLibrary& library) {
  library.def(
      "to_rgb(Tensor x, Tensor weight, Tensor? bias, float? clamp, Tensor? skip, Tensor? f, float "
      "filter_gain) -> Tensor");
}

void implement_to_rgb(torch::stable::detail::StableLibrary& library) {
  library.impl("to_rgb", TORCH_BOX(&forward));
}

}  // namespace deltafast::ops
