// torch's side of the conversion to an image: schema, arguments, dispatch. The kernels are in
// kernels/.

#include "kernels/to_rgb.h"

#include "ops/device.h"
#include "ops/epilogue_arguments.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "to_rgb";

Tensor forward(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
               std::optional<double> clamp, const OptionalTensor& skip, const OptionalTensor& f,
               double filter_gain) {
  STD_TORCH_CHECK(x.dim() == 4, kName, ": x must be [N, C, H, W]");
  STD_TORCH_CHECK(weight.dim() == 3 && weight.size(1) >= 1 && weight.size(1) <= kMaxImageChannels,
                  kName, ": weight must be [N, colours, C], with at most ", kMaxImageChannels,
                  " colours");
  STD_TORCH_CHECK(skip.has_value() == f.has_value(), kName, ": skip and f belong together");
  const Tensor image = to_layout(x, Layout::kNhwc);
  const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
  const int64_t colours = weight.size(1);
  return with_accumulation_type(x, [&](auto zero) {
    using A = decltype(zero);
    const Tensor own = dense_argument(weight, x, kAccumulate<A>, {n, colours, c}, kName, "weight");
    std::vector<Tensor> kept;
    const auto keep = [&](const Tensor& t, std::initializer_list<int64_t> sizes, const char* name) {
      kept.push_back(dense_argument(t, x, kAccumulate<A>, sizes, kName, name));
      return static_cast<const A*>(kept.back().const_data_ptr());
    };
    Tensor y = new_dense(x, {n, colours, h, w}, kAccumulate<A>);
    ToRgbParams<A> params;
    params.batch = n;
    params.channels = c;
    params.height = h;
    params.width = w;
    params.colours = static_cast<int>(colours);
    params.weight = static_cast<const A*>(own.const_data_ptr());
    params.bias = bias.has_value() ? keep(*bias, {colours}, "bias") : nullptr;
    const double limit = clamp.has_value() ? *clamp : std::numeric_limits<double>::infinity();
    params.clamp = static_cast<A>(limit);
    const float* values = nullptr;
    if (skip.has_value()) {
      STD_TORCH_CHECK(h % 2 == 0 && w % 2 == 0, kName, ": with skip, H and W must be even");
      const int64_t taps = f->dim() == 1 ? f->size(0) : 0;
      STD_TORCH_CHECK(taps >= 2 && taps <= kMaxSkipTaps, kName, ": f must be [k], k = 2..",
                      kMaxSkipTaps);
      params.skip = keep(*skip, {n, colours, h / 2, w / 2}, "skip");
      kept.push_back(dense_argument(*f, x, ScalarType::Float, {taps}, kName, "f"));
      values = static_cast<const float*>(kept.back().const_data_ptr());
      params.taps = static_cast<int>(taps);
      params.gain = static_cast<A>(filter_gain);
    }
    if (y.numel() == 0) return y;
    params.x = image.const_data_ptr();
    params.y = static_cast<A*>(y.mutable_data_ptr());
    run_kernel(
        x, kName,
        [&] {
          A correlation[kMaxSkipTaps];
          for (int t = 0; t < params.taps; ++t) {
            correlation[t] = static_cast<A>(values[params.taps - 1 - t]);
          }
          params.filter = correlation;
          cpu::to_rgb(params, parallel_for);
        },
        [&](const CudaTarget& target) {
          params.filter = reinterpret_cast<const A*>(values);
          return cuda_to_rgb(params, target);
        });
    return y;
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
