// The arguments of a conversion to an image, on their way from torch to the kernels.
#pragma once

#include <limits>

#include "kernels/to_rgb.h"
#include "ops/epilogue_arguments.h"
#include "ops/tensor.h"

namespace deltafast::ops {

// Keeps the contiguous copies of the small arguments alive for as long as the parameters point into
// them. `x`, [n, c, h, w] of any type, gives the device; its data are the caller's to set.
template <typename A>
struct ToRgbArguments {
  ToRgbParams<A> params;
  const float* values = nullptr;  // the filter's, in the order of convolution
  Tensor y;                       // the result
  std::vector<Tensor> kept;

  const A* keep(const Tensor& t, const Tensor& x, std::initializer_list<int64_t> sizes,
                const char* op, const char* name) {
    kept.push_back(dense_argument(t, x, kAccumulate<A>, sizes, op, name));
    return static_cast<const A*>(kept.back().const_data_ptr());
  }

  ToRgbArguments(const char* op, const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                 std::optional<double> clamp, const OptionalTensor& skip, const OptionalTensor& f,
                 double filter_gain)
      : y(image(op, x, weight)) {
    STD_TORCH_CHECK(skip.has_value() == f.has_value(), op, ": skip and f belong together");
    const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
    const int64_t colours = weight.size(1);
    params.batch = n;
    params.channels = c;
    params.height = h;
    params.width = w;
    params.colours = static_cast<int>(colours);
    params.weight = keep(weight, x, {n, colours, c}, op, "weight");
    params.bias = bias.has_value() ? keep(*bias, x, {colours}, op, "bias") : nullptr;
    const double limit = clamp.has_value() ? *clamp : std::numeric_limits<double>::infinity();
    params.clamp = static_cast<A>(limit);
    if (skip.has_value()) {
      STD_TORCH_CHECK(h % 2 == 0 && w % 2 == 0, op, ": with skip, H and W must be even");
      const int64_t taps = f->dim() == 1 ? f->size(0) : 0;
      STD_TORCH_CHECK(taps >= 2 && taps <= kMaxSkipTaps, op, ": f must be [k], k = 2..",
                      kMaxSkipTaps);
      params.skip = keep(*skip, x, {n, colours, h / 2, w / 2}, op, "skip");
      kept.push_back(dense_argument(*f, x, ScalarType::Float, {taps}, op, "f"));
      values = static_cast<const float*>(kept.back().const_data_ptr());
      params.taps = static_cast<int>(taps);
      params.gain = static_cast<A>(filter_gain);
    }
    params.y = static_cast<A*>(y.mutable_data_ptr());
  }

 private:
  static Tensor image(const char* op, const Tensor& x, const Tensor& weight) {
    STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [N, C, H, W]");
    STD_TORCH_CHECK(weight.dim() == 3 && weight.size(1) >= 1 && weight.size(1) <= kMaxImageChannels,
                    op, ": weight must be [N, colours, C], with at most ", kMaxImageChannels,
                    " colours");
    return new_dense(x, {x.size(0), weight.size(1), x.size(2), x.size(3)}, kAccumulate<A>);
  }
};

}  // namespace deltafast::ops
