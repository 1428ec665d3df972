// How every op reads its arguments: small tensors and images, checked and dense, as raw pointers.
#pragma once

#include <initializer_list>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "ops/device.h"
#include "ops/tensor.h"

namespace deltafast::ops {

using OptionalTensor = std::optional<Tensor>;

template <typename T>
constexpr ScalarType kScalarType = std::is_same_v<T, int64_t>  ? ScalarType::Long
                                   : std::is_same_v<T, double> ? ScalarType::Double
                                                               : ScalarType::Float;

// [N, C, H, W] of an op's input.
struct ImageSize {
  int64_t n, c, h, w;
};

inline ImageSize image_size(const Tensor& x, const char* op) {
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [N, C, H, W], got ", x.dim(), " dimensions");
  return {x.size(0), x.size(1), x.size(2), x.size(3)};
}

// `A` is the type in which the op accumulates, and that of its small tensors. Contiguous copies and
// the kernels' scratch memory are kept alive for as long as the pointers are in use.
template <typename A>
class Arguments {
 public:
  static constexpr ScalarType kType = kScalarType<A>;

  Arguments(const char* op, const Tensor& x) : op_(op), x_(x) {}

  // A tensor of these sizes on the device of x; null stands for none.
  template <typename T = A>
  const T* read(const OptionalTensor& t, std::initializer_list<int64_t> sizes, const char* name) {
    if (!t.has_value()) return nullptr;
    return static_cast<const T*>(
        keep(dense_argument(*t, x_, kScalarType<T>, sizes, op_, name)).const_data_ptr());
  }

  // An image, or other activations, of the dtype of x.
  template <typename T = void>
  const T* image(const Tensor& t, Layout layout, const char* name) {
    STD_TORCH_CHECK(t.scalar_type() == x_.scalar_type(), op_, ": ", name, " has the wrong dtype");
    return static_cast<const T*>(keep(to_layout(t, layout)).const_data_ptr());
  }

  // Noise, [N or 1, 1, H, W], and the elements from one sample's map to the next.
  std::pair<const A*, int64_t> noise(const OptionalTensor& t, int64_t n, int64_t h, int64_t w) {
    if (!t.has_value()) return {nullptr, 0};
    STD_TORCH_CHECK(t->dim() == 4, op_, ": noise must be [N or 1, 1, H, W]");
    const int64_t maps = t->size(0);
    STD_TORCH_CHECK(maps == 1 || maps == n, op_, ": noise must have 1 or N maps");
    return {read(t, {maps, 1, h, w}, "noise"), maps == 1 ? 0 : h * w};
  }

  template <typename T = A>
  T* scratch(int64_t elements) {
    return static_cast<T*>(keep(new_dense(x_, {elements}, kScalarType<T>)).mutable_data_ptr());
  }

 private:
  const Tensor& keep(Tensor t) {
    kept_.push_back(std::move(t));
    return kept_.back();
  }

  const char* op_;
  const Tensor& x_;
  std::vector<Tensor> kept_;
};

// Turns a filter round, from the order of convolution to that of correlation, as CPU kernels take
// it; `correlation` has room for `taps`.
template <typename A>
const A* correlation_of(const float* filter, int taps, A* correlation) {
  for (int t = 0; t < taps; ++t) correlation[t] = static_cast<A>(filter[taps - 1 - t]);
  return correlation;
}

// Calls `run` with a zero of the type in which an op on `x` accumulates. The one place that knows
// which dtypes there are kernels for.
template <typename Run>
auto with_accumulation_type(const char* op, const Tensor& x, Run run) {
  const ScalarType type = x.scalar_type();
  if (runs_on_cuda(x)) {
    cuda_element(op, type);
    return run(float{});
  }
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, op,
                  ": the CPU kernels take float32 and float64");
  return type == ScalarType::Double ? run(double{}) : run(float{});
}

}  // namespace deltafast::ops
