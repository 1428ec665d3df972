// torch's side of the CPU's modulated 3x3 convolution: arguments, results. The kernels are
// in kernels/.

#include "kernels/modulated_conv3x3.h"

#include <cstring>

#include "kernels/checksum.h"
#include "kernels/shared/checksum_mix.h"
#include "ops/epilogue_arguments.h"

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

// Packs `weight` again, and sums its squares, where its bits are not those of which `packed` and
// `squares` were made: their checksum is in `known`. Weights may be written in ways that leave no
// trace (through .data, by another framework), so nothing less than all their bits is looked at.
void refresh(const Tensor& weight, const Tensor& known, const Tensor& packed, const Tensor& squares,
             bool up) {
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3, kName,
                  ": weight must be [O, C, 3, 3]");
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  const bool nchw = weight.is_contiguous();
  const bool nhwc = weight.stride(1) == 1 && weight.stride(3) == inputs &&
                    weight.stride(2) == 3 * inputs && weight.stride(0) == 9 * inputs;
  STD_TORCH_CHECK(nchw || nhwc, kName, ": weight must be dense");
  for (const Tensor* t : {&weight, &packed, &squares}) {
    STD_TORCH_CHECK(t->scalar_type() == ScalarType::Float && t->is_cpu(), kName,
                    ": weight, packed and squares must be float32 on the CPU");
  }
  dense_argument(known, weight, ScalarType::Long, {1}, kName, "known");
  dense_argument(
      packed, weight, ScalarType::Float,
      {products(up), round_up(outputs, kConvOutputStep), round_up(inputs, kConvInputStep)}, kName,
      "packed");
  dense_argument(squares, weight, ScalarType::Float, {outputs, inputs}, kName, "squares");
  STD_TORCH_CHECK(packed.is_contiguous() && squares.is_contiguous(), kName,
                  ": packed and squares must be contiguous");
  const auto bytes = static_cast<int64_t>(weight.numel() * sizeof(float));
  const auto sum_of = [&](const void* data) {
    return checksum_mix(cpu::checksum(data, bytes, parallel_for), uint64_t{nchw ? 1u : 2u});
  };
  auto* const sum = static_cast<uint64_t*>(known.mutable_data_ptr());
  if (sum_of(weight.const_data_ptr()) == *sum) return;
  // A snapshot: whatever another thread writes meanwhile, all of it comes from the same bits.
  const Tensor snapshot = new_dense(weight, {weight.numel()}, ScalarType::Float);
  std::memcpy(snapshot.mutable_data_ptr(), weight.const_data_ptr(), static_cast<size_t>(bytes));
  PackConv3x3Params params;
  params.outputs = outputs;
  params.inputs = inputs;
  params.up = up;
  params.weight = static_cast<const float*>(snapshot.const_data_ptr());
  params.channel_step = nchw ? 9 : 1;
  params.tap_step = nchw ? 1 : inputs;
  params.packed = static_cast<float*>(packed.mutable_data_ptr());
  params.squares = static_cast<float*>(squares.mutable_data_ptr());
  cpu::pack_conv3x3(params, parallel_for);
  *sum = sum_of(snapshot.const_data_ptr());
}

Tensor forward(const Tensor& x, const Tensor& packed, int64_t outputs, bool up, bool activates,
               const OptionalTensor& style, const OptionalTensor& demod,
               const OptionalTensor& noise, const OptionalTensor& noise_strength,
               const OptionalTensor& bias, const OptionalTensor& next_style, double negative_slope,
               double gain, std::optional<double> clamp) {
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, kName, ": x must be float32");
  const auto [n, c, h, w] = image_size(x, kName);
  const Epilogue epilogue{demod,      noise,          noise_strength, bias,
                          next_style, negative_slope, gain,           clamp};
  Arguments<float> arguments(kName, x);
  Conv3x3Params params;
  params.inputs = c;
  params.in_h = h;
  params.in_w = w;
  params.out_h = up ? 2 * h + 1 : h;
  params.out_w = up ? 2 * w + 1 : w;
  params.up = up;
  params.activates = activates;
  params.packed = arguments.read(
      packed, {products(up), round_up(outputs, kConvOutputStep), round_up(c, kConvInputStep)},
      "packed");
  params.style = arguments.read(style, {n, c}, "style");
  params.epilogue = epilogue.read(arguments, {n, outputs, params.out_h, params.out_w});
  Tensor y = new_image(x, Layout::kNhwc, n, outputs, params.out_h, params.out_w);
  if (y.numel() == 0) return y;
  params.x = arguments.image<float>(x, Layout::kNhwc, "x");
  params.epilogue.channels_last = true;
  params.epilogue.y = y.mutable_data_ptr();
  cpu::modulated_conv3x3(params, parallel_for);
  return y;
}

DELTAFAST_IMPLEMENT_CPU(library) {
  library.impl("modulated_conv3x3", TORCH_BOX(&forward));
  library.impl("pack_conv3x3", TORCH_BOX(&pack));
  library.impl("refresh_conv3x3", TORCH_BOX(&refresh));
}

}  // namespace
}  // namespace deltafast::ops
