// torch's side of the filter with its epilogue: schema, arguments, dispatch. The kernels are in
// kernels/.

#include "kernels/filtered_epilogue.h"

#include "ops/device.h"
#include "ops/epilogue_arguments.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "filtered_epilogue";

Tensor forward(const Tensor& x, const Tensor& f, int64_t pad_x0, int64_t pad_x1, int64_t pad_y0,
               int64_t pad_y1, double filter_gain, const OptionalTensor& demod,
               const OptionalTensor& noise, const OptionalTensor& noise_strength,
               const OptionalTensor& bias, const OptionalTensor& next_style, double negative_slope,
               double gain, std::optional<double> clamp) {
  STD_TORCH_CHECK(x.dim() == 4, kName, ": x must be [N, C, H, W]");
  STD_TORCH_CHECK(f.dim() == 1 && f.size(0) >= 1 && f.size(0) <= kMaxEpilogueTaps, kName,
                  ": f must be [k], k at most ", kMaxEpilogueTaps);
  const Tensor image = to_layout(x, Layout::kNhwc);
  const int64_t n = x.size(0), c = x.size(1), taps = f.size(0);
  const int64_t out_h = x.size(2) + pad_y0 + pad_y1 - taps + 1;
  const int64_t out_w = x.size(3) + pad_x0 + pad_x1 - taps + 1;
  STD_TORCH_CHECK(out_h >= 1 && out_w >= 1, kName, ": the filter is larger than the padded image");
  const Tensor filter = dense_argument(f, x, ScalarType::Float, {taps}, kName, "f");
  Tensor y = new_image(x, Layout::kNhwc, n, c, out_h, out_w);
  return with_accumulation_type(x, [&](auto zero) {
    using A = decltype(zero);
    EpilogueArguments<A> arguments(kName, x, n, c, out_h, out_w, demod, noise, noise_strength, bias,
                                   next_style, negative_slope, gain, clamp);
    if (y.numel() == 0) return y;
    FilteredEpilogueParams<A> params;
    params.in_h = x.size(2);
    params.in_w = x.size(3);
    params.out_h = out_h;
    params.out_w = out_w;
    params.pad_x = pad_x0;
    params.pad_y = pad_y0;
    params.taps = static_cast<int>(taps);
    params.gain = static_cast<A>(filter_gain);
    params.epilogue = arguments.params;
    params.epilogue.channels_last = true;
    params.epilogue.x = image.const_data_ptr();
    params.epilogue.y = y.mutable_data_ptr();
    const auto* values = static_cast<const float*>(filter.const_data_ptr());
    run_kernel(
        x, kName,
        [&] {
          A correlation[kMaxEpilogueTaps];
          for (int t = 0; t < params.taps; ++t) {
            correlation[t] = static_cast<A>(values[params.taps - 1 - t]);
          }
          params.filter = correlation;
          cpu::filtered_epilogue(params, parallel_for);
        },
        [&](const CudaTarget& target) {
          params.filter = reinterpret_cast<const A*>(values);
          return cuda_filtered_epilogue(params, target);
        });
    return y;
  });
}

}  // namespace

void define_filtered_epilogue(torch::stable::detail::StableLibrary& library) {
  library.def(
      "filtered_epilogue(Tensor x, Tensor f, SymInt pad_x0, SymInt pad_x1, SymInt pad_y0, SymInt "
      "pad_y1, float filter_gain, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? "
      "bias, Tensor? next_style, float negative_slope, float gain, float? clamp) -> Tensor");
}

void implement_filtered_epilogue(torch::stable::detail::StableLibrary& library) {
  library.impl("filtered_epilogue", TORCH_BOX(&forward));
}

}  // namespace deltafast::ops
