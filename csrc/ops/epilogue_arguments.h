// The arguments of a fused epilogue, read from tensors: shared by all ops that end with one.
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include "kernels/modulated_epilogue.h"
#include "ops/tensor.h"

namespace deltafast::ops {

using OptionalTensor = std::optional<Tensor>;

template <typename A>
constexpr ScalarType kAccumulate =
    sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;

// Calls `run` with a value of the accumulation type that belongs to the dtype of x.
template <typename Run>
auto with_accumulation_type(const Tensor& x, Run run) {
  return x.scalar_type() == ScalarType::Double ? run(double{}) : run(float{});
}

// Keeps the contiguous copies of the small arguments alive for as long as the parameters point into
// them. The epilogue works on [n, c, h, w]; `x` gives the device alone.
template <typename A>
struct EpilogueArguments {
  EpilogueParams<A> params;
  std::vector<Tensor> kept;

  const A* keep(const OptionalTensor& t, const Tensor& x, std::initializer_list<int64_t> sizes,
                const char* op, const char* name) {
    if (!t.has_value()) return nullptr;
    kept.push_back(dense_argument(*t, x, kAccumulate<A>, sizes, op, name));
    return static_cast<const A*>(kept.back().const_data_ptr());
  }

  EpilogueArguments(const char* op, const Tensor& x, int64_t n, int64_t c, int64_t h, int64_t w,
                    const OptionalTensor& demod, const OptionalTensor& noise,
                    const OptionalTensor& strength, const OptionalTensor& bias,
                    const OptionalTensor& style, double slope, double gain,
                    std::optional<double> clamp) {
    params.batch = n;
    params.channels = c;
    params.pixels = h * w;
    const double limit = clamp.has_value() ? *clamp : std::numeric_limits<double>::infinity();
    params.activation = {static_cast<A>(slope), static_cast<A>(gain), static_cast<A>(limit)};
    params.demod = keep(demod, x, {n, c}, op, "demod");
    if (noise.has_value()) {
      STD_TORCH_CHECK(noise->dim() == 4, op, ": noise must be [N or 1, 1, H, W]");
      const int64_t maps = noise->size(0);
      STD_TORCH_CHECK(maps == 1 || maps == n, op, ": noise must have 1 or N maps");
      params.noise = keep(noise, x, {maps, 1, h, w}, op, "noise");
      params.noise_stride = maps == 1 ? 0 : h * w;
      params.strength = keep(strength, x, {}, op, "noise_strength");
    }
    params.bias = keep(bias, x, {c}, op, "bias");
    params.style = keep(style, x, {n, c}, op, "next_style");
    params.splits = epilogue_splits(params.pixels);
  }
};

}  // namespace deltafast::ops
