// The arguments of a conversion to an image, on their way from torch to the kernels.
#pragma once

#include <limits>

#include "kernels/to_rgb.h"
#include "ops/arguments.h"

namespace deltafast::ops {

// As a schema lists them.
struct ToRgb {
  const Tensor& weight;
  const OptionalTensor& bias;
  std::optional<double> clamp;
  const OptionalTensor& skip;
  const OptionalTensor& f;
  double filter_gain;

  // An uninitialised image [n, colours, h, w] for activations `x`.
  template <typename A>
  Tensor new_result(const char* op, const Tensor& x) const {
    const ImageSize size = image_size(x, op);
    STD_TORCH_CHECK(weight.dim() == 3 && weight.size(1) >= 1 && weight.size(1) <= kMaxImageChannels,
                    op, ": weight must be [N, colours, C], with at most ", kMaxImageChannels,
                    " colours");
    return new_dense(x, {size.n, weight.size(1), size.h, size.w}, kScalarType<A>);
  }

  // The parameters for activations of `size`, all but x and the filter, which is returned apart, in
  // the order of convolution.
  template <typename A>
  const float* read(Arguments<A>& arguments, const char* op, const ImageSize& size, const Tensor& y,
                    ToRgbParams<A>& params) const {
    STD_TORCH_CHECK(skip.has_value() == f.has_value(), op, ": skip and f belong together");
    const auto [n, c, h, w] = size;
    const int64_t colours = weight.size(1);
    params.batch = n;
    params.channels = c;
    params.height = h;
    params.width = w;
    params.colours = static_cast<int>(colours);
    params.weight = arguments.read(weight, {n, colours, c}, "weight");
    params.bias = arguments.read(bias, {colours}, "bias");
    params.clamp = static_cast<A>(clamp.value_or(std::numeric_limits<double>::infinity()));
    params.y = static_cast<A*>(y.mutable_data_ptr());
    if (!skip.has_value()) return nullptr;
    STD_TORCH_CHECK(h % 2 == 0 && w % 2 == 0, op, ": with skip, H and W must be even");
    const int64_t taps = f->dim() == 1 ? f->size(0) : 0;
    STD_TORCH_CHECK(taps >= 2 && taps <= kMaxSkipTaps, op, ": f must be [k], k = 2..",
                    kMaxSkipTaps);
    params.skip = arguments.read(skip, {n, colours, h / 2, w / 2}, "skip");
    params.taps = static_cast<int>(taps);
    params.gain = static_cast<A>(filter_gain);
    return arguments.template read<float>(f, {taps}, "f");
  }
};

}  // namespace deltafast::ops
