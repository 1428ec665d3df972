// torch's side of the CPU's modulated 3x3 convolution: schema, arguments, dispatch. The kernels are
// in kernels/.

#include "kernels/modulated_conv3x3.h"

#include "ops/epilogue_arguments.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "modulated_conv3x3";

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

int64_t products(bool up) {
  const int64_t along = up ? kUpProducts : kPlainProducts;
  return along * along;
}

Tensor pack(const Tensor& weight, bool up) {
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3, kName,
                  ": weight must be [O, C, 3, 3]");
  STD_TORCH_CHECK(weight.scalar_type() == ScalarType::Float, kName, ": weight must be float32");
  const Tensor dense = weight.is_contiguous() ? weight : torch::stable::contiguous(weight);
  PackConv3x3Params params;
  params.outputs = weight.size(0);
  params.inputs = weight.size(1);
  params.up = up;
  Tensor packed = new_dense(weight,
                            {products(up), round_up(params.outputs, kConvOutputStep),
                             round_up(params.inputs, kConvInputStep)},
                            ScalarType::Float);
  params.weight = static_cast<const float*>(dense.const_data_ptr());
  params.packed = static_cast<float*>(packed.mutable_data_ptr());
  cpu::pack_conv3x3(params, parallel_for);
  return packed;
}

Tensor forward(const Tensor& x, const Tensor& packed, int64_t outputs, bool up, bool activates,
               const OptionalTensor& style, const OptionalTensor& demod,
               const OptionalTensor& noise, const OptionalTensor& noise_strength,
               const OptionalTensor& bias, const OptionalTensor& next_style, double negative_slope,
               double gain, std::optional<double> clamp) {
  STD_TORCH_CHECK(x.dim() == 4 && x.scalar_type() == ScalarType::Float, kName,
                  ": x must be float32 [N, C, H, W]");
  const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
  const Tensor image = to_layout(x, Layout::kNhwc);
  Conv3x3Params params;
  params.inputs = c;
  params.in_h = h;
  params.in_w = w;
  params.out_h = up ? 2 * h + 1 : h;
  params.out_w = up ? 2 * w + 1 : w;
  params.up = up;
  params.activates = activates;
  EpilogueArguments<float> arguments(kName, x, n, outputs, params.out_h, params.out_w, demod, noise,
                                     noise_strength, bias, next_style, negative_slope, gain, clamp);
  const Tensor tiles = dense_argument(
      packed, x, ScalarType::Float,
      {products(up), round_up(outputs, kConvOutputStep), round_up(c, kConvInputStep)}, kName,
      "packed");
  params.style = arguments.keep(style, x, {n, c}, kName, "style");
  Tensor y = new_image(x, Layout::kNhwc, n, outputs, params.out_h, params.out_w);
  if (y.numel() == 0) return y;
  params.x = static_cast<const float*>(image.const_data_ptr());
  params.packed = static_cast<const float*>(tiles.const_data_ptr());
  params.epilogue = arguments.params;
  params.epilogue.channels_last = true;
  params.epilogue.y = y.mutable_data_ptr();
  cpu::modulated_conv3x3(params, parallel_for);
  return y;
}

}  // namespace

void define_modulated_conv3x3(torch::stable::detail::StableLibrary& library) {
  library.def(
      "modulated_conv3x3(Tensor x, Tensor packed, SymInt outputs, bool up, bool activates, "
      "Tensor? style, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? bias, Tensor? "
      "next_style, float negative_slope, float gain, float? clamp) -> Tensor");
  library.def("pack_conv3x3(Tensor weight, bool up) -> Tensor");
}

void implement_modulated_conv3x3(torch::stable::detail::StableLibrary& library) {
  library.impl("modulated_conv3x3", TORCH_BOX(&forward));
  library.impl("pack_conv3x3", TORCH_BOX(&pack));
}

}  // namespace deltafast::ops
