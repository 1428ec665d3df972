// The one record of a fused epilogue's arguments, shared by all ops that end with one.
#pragma once

#include <limits>

#include "kernels/modulated_epilogue.h"
#include "ops/arguments.h"

namespace deltafast::ops {

// As a schema lists them; deltafast/ops/_epilogue.py is the twin of this record.
struct Epilogue {
  const OptionalTensor& demod;
  const OptionalTensor& noise;
  const OptionalTensor& noise_strength;
  const OptionalTensor& bias;
  const OptionalTensor& next_style;
  double negative_slope;
  double gain;
  std::optional<double> clamp;

  // The parameters of an epilogue on [n, c, h, w], all but x, y, the gradients and the layout.
  template <typename A>
  EpilogueParams<A> read(Arguments<A>& arguments, const ImageSize& size) const {
    const auto [n, c, h, w] = size;
    EpilogueParams<A> params;
    params.batch = n;
    params.channels = c;
    params.pixels = h * w;
    const double limit = clamp.value_or(std::numeric_limits<double>::infinity());
    params.activation = {static_cast<A>(negative_slope), static_cast<A>(gain),
                         static_cast<A>(limit)};
    params.demod = arguments.read(demod, {n, c}, "demod");
    const auto [maps, stride] = arguments.noise(noise, n, h, w);
    params.noise = maps;
    params.noise_stride = stride;
    if (maps) params.strength = arguments.read(noise_strength, {}, "noise_strength");
    params.bias = arguments.read(bias, {c}, "bias");
    params.style = arguments.read(next_style, {n, c}, "next_style");
    params.splits = epilogue_splits(params.pixels);
    return params;
  }
};

}  // namespace deltafast::ops
