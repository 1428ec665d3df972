// torch's side of the epilogue with its conversion to an image: schema, arguments, dispatch. The
// kernel is in kernels/cuda/.

#include "kernels/epilogue_to_rgb.h"

#include <tuple>

#include "ops/device.h"
#include "ops/epilogue_arguments.h"
#include "ops/tensor.h"
#include "ops/to_rgb_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "epilogue_to_rgb";

std::tuple<Tensor, Tensor> forward(const Tensor& x, const OptionalTensor& demod,
                                   const OptionalTensor& noise,
                                   const OptionalTensor& noise_strength, const OptionalTensor& bias,
                                   const OptionalTensor& next_style, double negative_slope,
                                   double gain, std::optional<double> clamp, const Tensor& weight,
                                   const OptionalTensor& rgb_bias, std::optional<double> rgb_clamp,
                                   const OptionalTensor& skip, const OptionalTensor& f,
                                   double filter_gain, bool keep) {
  STD_TORCH_CHECK(x.dim() == 4, kName, ": x must be [N, C, H, W]");
  STD_TORCH_CHECK(x.scalar_type() != ScalarType::Double, kName, ": there is no float64 kernel");
  const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
  const Tensor image = to_layout(x, Layout::kNhwc);
  EpilogueArguments<float> epilogue(kName, x, n, c, h, w, demod, noise, noise_strength, bias,
                                    next_style, negative_slope, gain, clamp);
  ToRgbArguments<float> rgb(kName, x, weight, rgb_bias, rgb_clamp, skip, f, filter_gain);
  Tensor y = keep ? new_image(x, Layout::kNhwc, n, c, h, w) : new_dense(x, {0}, x.scalar_type());
  if (rgb.y.numel() == 0) return std::make_tuple(y, rgb.y);
  epilogue.params.channels_last = true;
  epilogue.params.x = image.const_data_ptr();
  epilogue.params.y = keep ? y.mutable_data_ptr() : nullptr;
  rgb.params.filter = rgb.values;
  run_kernel(
      x, kName, [] { STD_TORCH_CHECK(false, kName, ": there is no CPU kernel"); },
      [&](const CudaTarget& target) {
#if defined(DELTAFAST_CUDA)
        return cuda::epilogue_to_rgb({epilogue.params, rgb.params}, target);
#else
        (void)target;
        return 0;
#endif
      });
  return std::make_tuple(y, rgb.y);
}

}  // namespace

void define_epilogue_to_rgb(torch::stable::detail::StableLibrary& library) {
  library.def(
      "epilogue_to_rgb(Tensor x, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? "
      "bias, Tensor? next_style, float negative_slope, float gain, float? clamp, Tensor weight, "
      "Tensor? rgb_bias, float? rgb_clamp, Tensor? skip, Tensor? f, float filter_gain, bool keep) "
      "-> (Tensor, Tensor)");
}

void implement_epilogue_to_rgb(torch::stable::detail::StableLibrary& library) {
  library.impl("epilogue_to_rgb", TORCH_BOX(&forward));
}

}  // namespace deltafast::ops
