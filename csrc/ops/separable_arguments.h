// What the ops of MobileStyleGAN's layers share: reading a layer's arguments.
#pragma once

#include "kernels/separable_conv.h"
#include "kernels/wavelet_image.h"
#include "ops/tensor.h"

namespace deltafast::ops {

using OptionalTensor = std::optional<Tensor>;

// [N, C, H, W] of a layer's input.
struct InputSize {
  int64_t n, c, h, w;
};

inline InputSize input_size(const Tensor& x, const char* op) {
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [N, C, H, W], got ", x.dim(), " dimensions");
  return {x.size(0), x.size(1), x.size(2), x.size(3)};
}

// Calls `run` with a value of the type of x.
template <typename Run>
auto with_type(const Tensor& x, Run run) {
  return x.scalar_type() == ScalarType::Double ? run(double{}) : run(float{});
}

// Reads arguments, and keeps their contiguous copies and the kernels' scratch memory alive for as
// long as the parameters point into them.
template <typename A>
class Arguments {
 public:
  static constexpr ScalarType kType =
      sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;

  Arguments(const Tensor& like, const char* op) : like_(like), op_(op) {}

  const A* read(const OptionalTensor& t, std::initializer_list<int64_t> sizes, const char* name) {
    if (!t.has_value()) return nullptr;
    kept_.push_back(dense_argument(*t, like_, kType, sizes, op_, name));
    return static_cast<const A*>(kept_.back().const_data_ptr());
  }

  // Channels last.
  const A* read_image(const Tensor& t, const char* name) {
    STD_TORCH_CHECK(t.scalar_type() == kType, op_, ": ", name, " has the wrong dtype");
    kept_.push_back(to_layout(t, Layout::kNhwc));
    return static_cast<const A*>(kept_.back().const_data_ptr());
  }

  template <typename T = A>
  T* scratch(int64_t elements) {
    kept_.push_back(new_dense(
        like_, {elements}, sizeof(T) == sizeof(double) ? ScalarType::Double : ScalarType::Float));
    return static_cast<T*>(kept_.back().mutable_data_ptr());
  }

  // Everything but x and y.
  SeparableConvParams<A> separable(const InputSize& x, const Tensor& depthwise,
                                   const Tensor& pointwise, const OptionalTensor& noise,
                                   const OptionalTensor& bias, const OptionalTensor& style,
                                   bool wavelet, double slope, double gain) {
    STD_TORCH_CHECK(pointwise.dim() == 4, op_, ": pointwise must be [O, C, 1, 1]");
    const int64_t factor = wavelet ? 2 : 1;
    SeparableConvParams<A> params;
    params.batch = x.n;
    params.channels = x.c / (factor * factor);
    params.outputs = pointwise.size(0);
    params.height = x.h * factor;
    params.width = x.w * factor;
    params.wavelet = wavelet;
    params.slope = static_cast<A>(slope);
    params.gain = static_cast<A>(gain);
    params.style = read(style, {x.n, x.c}, "style");
    params.depthwise = read(depthwise, {params.channels, 1, 3, 3}, "depthwise");
    params.pointwise = read(pointwise, {params.outputs, params.channels, 1, 1}, "pointwise");
    if (noise.has_value()) {
      STD_TORCH_CHECK(noise->dim() == 4, op_, ": noise must be [N or 1, 1, H, W]");
      const int64_t maps = noise->size(0);
      STD_TORCH_CHECK(maps == 1 || maps == x.n, op_, ": noise must have 1 or N maps");
      params.noise = read(noise, {maps, 1, params.height, params.width}, "noise");
      params.noise_stride = maps == 1 ? 0 : params.height * params.width;
    }
    params.bias = read(bias, {params.outputs}, "bias");
    params.packed = scratch(separable_conv_packed_size(params.outputs, params.channels));
    return params;
  }

  // Everything but x and the image.
  WaveletImageParams<A> image(const InputSize& x, const Tensor& weight, const OptionalTensor& bias,
                              const OptionalTensor& style) {
    STD_TORCH_CHECK(weight.dim() == 4, op_, ": weight must be [4 K, C, 1, 1]");
    WaveletImageParams<A> params;
    params.batch = x.n;
    params.channels = x.c;
    params.height = x.h;
    params.width = x.w;
    params.colours = weight.size(0) / 4;
    params.style = read(style, {x.n, x.c}, "style");
    params.weight = read(weight, {4 * params.colours, x.c, 1, 1}, "weight");
    params.bias = read(bias, {4 * params.colours}, "bias");
    params.folded = scratch(4 * params.colours * (x.c + 1));
    return params;
  }

 private:
  const Tensor& like_;
  const char* op_;
  std::vector<Tensor> kept_;
};

}  // namespace deltafast::ops
