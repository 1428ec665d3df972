// torch's side of Philox: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/philox.h"

#include "ops/device.h"
#include "ops/noise.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

Tensor words(const Tensor& counters, const Tensor& keys) {
  constexpr const char* kName = "philox4x32";
  STD_TORCH_CHECK(counters.dim() == 2, kName, ": counters must be [N, 4]");
  const int64_t count = counters.size(0);
  const Tensor dense =
      dense_argument(counters, counters, ScalarType::Long, {count, 4}, kName, "counters");
  const Tensor key = dense_argument(keys, counters, ScalarType::Long, {2}, kName, "keys");
  Tensor y = new_dense(counters, {count, 4}, ScalarType::Long);
  if (count == 0) return y;
  PhiloxParams params;
  params.counters = static_cast<const int64_t*>(dense.const_data_ptr());
  params.keys = static_cast<const int64_t*>(key.const_data_ptr());
  params.words = static_cast<int64_t*>(y.mutable_data_ptr());
  params.count = count;
  const Tensor floating = new_dense(counters, {0}, ScalarType::Float);  // names the element type
  run_kernel(
      floating, kName, [&] { cpu::philox4x32(params, parallel_for); },
      [&](const CudaTarget& target) {
#if defined(DELTAFAST_CUDA)
        return cuda::philox4x32(params, target);
#else
        (void)target;
        return 0;
#endif
      });
  return y;
}

Tensor normal(const Tensor& seed, const Tensor& step, const Tensor& first_sample, int64_t samples,
              int64_t elements, int64_t stream) {
  constexpr const char* kName = "philox_normal";
  STD_TORCH_CHECK(samples >= 0 && elements >= 0 && stream >= 0 && stream < 256, kName,
                  ": sizes must not be negative, and stream must be in 0..255");
  const NoiseTensors noise(seed, step, first_sample, seed, kName);
  Tensor y = new_dense(seed, {samples, elements}, ScalarType::Float);
  if (y.numel() == 0) return y;
  NormalParams params;
  params.key = noise.key;
  params.stream = static_cast<int>(stream);
  params.samples = samples;
  params.elements = elements;
  params.y = static_cast<float*>(y.mutable_data_ptr());
  run_kernel(
      y, kName, [&] { cpu::philox_normal(params, parallel_for); },
      [&](const CudaTarget& target) {
#if defined(DELTAFAST_CUDA)
        return cuda::philox_normal(params, target);
#else
        (void)target;
        return 0;
#endif
      });
  return y;
}

}  // namespace

void define_philox(torch::stable::detail::StableLibrary& library) {
  library.def("philox4x32(Tensor counters, Tensor keys) -> Tensor");
  library.def(
      "philox_normal(Tensor seed, Tensor step, Tensor first_sample, SymInt samples, SymInt "
      "elements, int stream) -> Tensor");
}

void implement_philox(torch::stable::detail::StableLibrary& library) {
  library.impl("philox4x32", TORCH_BOX(&words));
  library.impl("philox_normal", TORCH_BOX(&normal));
}

}  // namespace deltafast::ops
