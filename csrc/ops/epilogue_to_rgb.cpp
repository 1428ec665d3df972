// torch's side of the epilogue with its conversion to an image: arguments, results. The kernel, for
// CUDA alone, is in kernels/cuda/.

#include "kernels/epilogue_to_rgb.h"

#include <tuple>

#include "ops/epilogue_arguments.h"
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
  const ImageSize size = image_size(x, kName);
  const Epilogue epilogue{demod,      noise,          noise_strength, bias,
                          next_style, negative_slope, gain,           clamp};
  const ToRgb rgb{weight, rgb_bias, rgb_clamp, skip, f, filter_gain};
  Arguments<float> arguments(kName, x);
  Tensor image = rgb.new_result<float>(kName, x);
  Tensor y = keep ? new_image(x, Layout::kNhwc, size.n, size.c, size.h, size.w)
                  : new_dense(x, {0}, x.scalar_type());
  EpilogueToRgbParams params{epilogue.read(arguments, size), {}};
  params.rgb.filter = rgb.read(arguments, kName, size, image, params.rgb);
  if (image.numel() == 0) return std::make_tuple(y, image);
  params.epilogue.channels_last = true;
  params.epilogue.x = arguments.image(x, Layout::kNhwc, "x");
  params.epilogue.y = keep ? y.mutable_data_ptr() : nullptr;
  run_on_cuda(kName, x, [&](const auto& target) { return cuda::epilogue_to_rgb(params, target); });
  return std::make_tuple(y, image);
}

DELTAFAST_IMPLEMENT_CUDA(library) { library.impl("epilogue_to_rgb", TORCH_BOX(&forward)); }

}  // namespace
}  // namespace deltafast::ops
