// The epilogue's arithmetic for one element: v = clamp(gain * leaky_relu(u)), and what its gradient
// needs.
#pragma once

#include "kernels/shared/macros.h"

namespace deltafast {

// `clamp` is +infinity where nothing is clamped. NaN passes through unchanged, as it does in torch.
template <typename A>
struct Activation {
  A slope;
  A gain;
  A clamp;
};

// gain * leaky_relu(u), before the clamp.
template <typename A>
DELTAFAST_HD A activate_unclamped(const Activation<A>& activation, A u) {
  return (u > A(0) ? u : u * activation.slope) * activation.gain;
}

template <typename A>
DELTAFAST_HD A clamp_symmetric(A v, A limit) {
  v = v > limit ? limit : v;
  return v < -limit ? -limit : v;
}

template <typename A>
DELTAFAST_HD A activate(const Activation<A>& activation, A u) {
  return clamp_symmetric(activate_unclamped(activation, u), activation.clamp);
}

// d activate / d u, given u and v = activate_unclamped(u). Like torch: at u = 0 the slope of the
// negative side, and 1 on the limits of the clamp themselves.
template <typename A>
DELTAFAST_HD A activation_slope(const Activation<A>& activation, A u, A v) {
  const A slope = u > A(0) ? activation.gain : activation.gain * activation.slope;
  return (v <= activation.clamp && v >= -activation.clamp) ? slope : A(0);
}

}  // namespace deltafast
