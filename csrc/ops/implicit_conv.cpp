// torch's side of the convolution on tensor cores: arguments, results. The kernels, for CUDA alone,
// are in kernels/cuda/.

#include "kernels/implicit_conv.h"

#include <tuple>

#include "ops/epilogue_arguments.h"
#include "ops/to_rgb_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "implicit_conv";
constexpr int64_t kMaxSide = int64_t{1} << 24;

int output_size(ConvForm form, int size) {
  switch (form) {
    case ConvForm::kUp:
      return 2 * size + 1;
    case ConvForm::kDown:
      return (size - 1) / 2;
    case ConvForm::kUpFiltered:
      return 2 * size;
    default:
      return size;
  }
}

// One call's arguments: what the ops have in common.
struct Call {
  ImplicitConvParams params;
  Arguments<float> arguments;
  const Tensor& x;
  bool wgmma;
  Tensor y;

  Call(const Tensor& x_, const Tensor& weight, int64_t form, bool wgmma_, bool keep)
      : arguments(kName, x_), x(x_), wgmma(wgmma_) {
    STD_TORCH_CHECK(x.scalar_type() == ScalarType::Half || x.scalar_type() == ScalarType::BFloat16,
                    kName, ": x must be float16 or bfloat16");
    STD_TORCH_CHECK(form >= 0 && form <= static_cast<int64_t>(ConvForm::kUpFiltered), kName,
                    ": there is no form ", form);
    params.form = static_cast<ConvForm>(form);
    const auto [n, c, h, w] = image_size(x, kName);
    const int64_t side = params.form == ConvForm::kPointwise ? 1 : 3;
    STD_TORCH_CHECK(weight.dim() == 4 && weight.size(1) == c && weight.size(2) == side &&
                        weight.size(3) == side,
                    kName, ": weight must be [O, C, k, k]");
    STD_TORCH_CHECK(
        weight.is_cuda() == x.is_cuda() && weight.get_device_index() == x.get_device_index(), kName,
        ": weight is not on the device of x");
    const int64_t outputs = weight.size(0);
    STD_TORCH_CHECK(c % 8 == 0 && outputs % 8 == 0 && c > 0 && outputs > 0, kName,
                    ": channels must be multiples of 8");
    STD_TORCH_CHECK(h > 0 && w > 0 && h < kMaxSide && w < kMaxSide, kName,
                    ": no kernel takes an image of this size");
    STD_TORCH_CHECK(params.form != ConvForm::kDown || (h % 2 == 1 && w % 2 == 1 && h > 2 && w > 2),
                    kName, ": with stride 2, height and width must be odd, and 3 at least");
    params.inputs = c;
    params.in_h = static_cast<int>(h);
    params.in_w = static_cast<int>(w);
    params.out_h = output_size(params.form, params.in_h);
    params.out_w = output_size(params.form, params.in_w);
    params.weight = arguments.image(weight, Layout::kNhwc, "weight");
    params.x = arguments.image(x, Layout::kNhwc, "x");
    y = keep ? new_image(x, Layout::kNhwc, n, outputs, params.out_h, params.out_w)
             : new_dense(x, {0}, x.scalar_type());
    params.epilogue.batch = n;
    params.epilogue.channels = outputs;
    params.epilogue.pixels = int64_t{params.out_h} * params.out_w;
  }

  void read(const Epilogue& epilogue) {
    params.epilogue =
        epilogue.read(arguments, {x.size(0), params.epilogue.channels, params.out_h, params.out_w});
    params.activates = true;
  }

  void run() {
    if (x.size(0) == 0) return;
    params.epilogue.channels_last = true;
    params.epilogue.y = y.numel() == 0 ? nullptr : y.mutable_data_ptr();
    run_on_cuda(kName, x, [&](const auto& target) {
      if (!wgmma) return cuda::implicit_conv(params, target);
#if defined(DELTAFAST_SM90)
      return cuda::wgmma_conv(params, target);
#else
      STD_TORCH_CHECK(false, kName, ": this build has no kernels for sm_90a");
#endif
    });
  }
};

Tensor convolve(const Tensor& x, const Tensor& weight, int64_t form, bool wgmma) {
  STD_TORCH_CHECK(form != static_cast<int64_t>(ConvForm::kUpFiltered), kName,
                  ": there is no filter to apply");
  Call call(x, weight, form, wgmma, true);
  call.run();
  return call.y;
}

Tensor activated(const Tensor& x, const Tensor& weight, int64_t form, bool wgmma,
                 const OptionalTensor& f, double filter_gain, const OptionalTensor& demod,
                 const OptionalTensor& noise, const OptionalTensor& noise_strength,
                 const OptionalTensor& bias, const OptionalTensor& next_style,
                 double negative_slope, double gain, std::optional<double> clamp) {
  const Epilogue epilogue{demod,      noise,          noise_strength, bias,
                          next_style, negative_slope, gain,           clamp};
  Call call(x, weight, form, wgmma, true);
  const bool filtered = call.params.form == ConvForm::kUpFiltered;
  STD_TORCH_CHECK(
      filtered || call.params.form == ConvForm::kPlain || call.params.form == ConvForm::kPointwise,
      kName, ": no epilogue follows a convolution of form ", form);
  STD_TORCH_CHECK(!(filtered && wgmma), kName, ": with wgmma, the filter is applied apart");
  STD_TORCH_CHECK(f.has_value() == filtered, kName, ": f belongs to up-sampling");
  call.params.filter = call.arguments.read<float>(f, {4}, "f");
  call.params.filter_gain = static_cast<float>(filter_gain);
  call.read(epilogue);
  call.run();
  return call.y;
}

std::tuple<Tensor, Tensor> with_image(const Tensor& x, const Tensor& weight, bool wgmma,
                                      const OptionalTensor& demod, const OptionalTensor& noise,
                                      const OptionalTensor& noise_strength,
                                      const OptionalTensor& bias, const OptionalTensor& next_style,
                                      double negative_slope, double gain,
                                      std::optional<double> clamp, const Tensor& rgb_weight,
                                      const OptionalTensor& rgb_bias,
                                      std::optional<double> rgb_clamp, const OptionalTensor& skip,
                                      const OptionalTensor& f, double filter_gain, bool keep) {
  const Epilogue epilogue{demod,      noise,          noise_strength, bias,
                          next_style, negative_slope, gain,           clamp};
  const ToRgb rgb{rgb_weight, rgb_bias, rgb_clamp, skip, f, filter_gain};
  Call call(x, weight, static_cast<int64_t>(ConvForm::kPlain), wgmma, keep);
  call.read(epilogue);
  const ImageSize size{x.size(0), weight.size(0), call.params.out_h, call.params.out_w};
  Tensor image = rgb.new_result<float>(kName, x);
  call.params.rgb.filter = rgb.read(call.arguments, kName, size, image, call.params.rgb);
  call.run();
  return std::make_tuple(call.y, image);
}

DELTAFAST_IMPLEMENT_CUDA(library) {
  library.impl("implicit_conv", TORCH_BOX(&convolve));
  library.impl("implicit_conv_activated", TORCH_BOX(&activated));
  library.impl("implicit_conv_to_rgb", TORCH_BOX(&with_image));
}

}  // namespace
}  // namespace deltafast::ops
