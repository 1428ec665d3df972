// torch's side of the filter with its epilogue: arguments, results. The kernels are in kernels/.

#include "kernels/filtered_epilogue.h"

#include "ops/epilogue_arguments.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "filtered_epilogue";

Tensor forward(const Tensor& x, const Tensor& f, int64_t pad_x0, int64_t pad_x1, int64_t pad_y0,
               int64_t pad_y1, double filter_gain, const OptionalTensor& demod,
               const OptionalTensor& noise, const OptionalTensor& noise_strength,
               const OptionalTensor& bias, const OptionalTensor& next_style, double negative_slope,
               double gain, std::optional<double> clamp) {
  const auto [n, c, h, w] = image_size(x, kName);
  STD_TORCH_CHECK(f.dim() == 1 && f.size(0) >= 1 && f.size(0) <= kMaxEpilogueTaps, kName,
                  ": f must be [k], k at most ", kMaxEpilogueTaps);
  const int64_t taps = f.size(0);
  const int64_t out_h = h + pad_y0 + pad_y1 - taps + 1, out_w = w + pad_x0 + pad_x1 - taps + 1;
  STD_TORCH_CHECK(out_h >= 1 && out_w >= 1, kName, ": the filter is larger than the padded image");
  const Epilogue epilogue{demod,      noise,          noise_strength, bias,
                          next_style, negative_slope, gain,           clamp};
  const ImageSize size{n, c, out_h, out_w};
  Tensor y = new_image(x, Layout::kNhwc, n, c, out_h, out_w);
  return with_accumulation_type(kName, x, [&](auto zero) {
    using A = decltype(zero);
    Arguments<A> arguments(kName, x);
    FilteredEpilogueParams<A> params;
    params.epilogue = epilogue.read(arguments, size);
    if (y.numel() == 0) return y;
    params.in_h = x.size(2);
    params.in_w = x.size(3);
    params.out_h = out_h;
    params.out_w = out_w;
    params.pad_x = pad_x0;
    params.pad_y = pad_y0;
    params.taps = static_cast<int>(taps);
    params.gain = static_cast<A>(filter_gain);
    params.epilogue.channels_last = true;
    params.epilogue.x = arguments.image(x, Layout::kNhwc, "x");
    params.epilogue.y = y.mutable_data_ptr();
    const float* values = arguments.template read<float>(f, {taps}, "f");
    run_kernel<A>(
        kName, x,
        [&] {
          A correlation[kMaxEpilogueTaps];
          params.filter = correlation_of(values, params.taps, correlation);
          cpu::filtered_epilogue(params, parallel_for);
        },
        [&](const auto& target) {
          params.filter = values;
          return cuda::filtered_epilogue(params, target);
        });
    return y;
  });
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) {
  library.impl("filtered_epilogue", TORCH_BOX(&forward));
}

}  // namespace
}  // namespace deltafast::ops
