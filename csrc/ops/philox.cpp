// torch's side of Philox: arguments, results. The kernels are in kernels/.

#include "kernels/philox.h"

#include "ops/noise.h"

namespace deltafast::ops {
namespace {

Tensor words(const Tensor& counters, const Tensor& keys) {
  constexpr const char* kName = "philox4x32";
  STD_TORCH_CHECK(counters.dim() == 2, kName, ": counters must be [N, 4]");
  const int64_t count = counters.size(0);
  Arguments<int64_t> arguments(kName, counters);
  PhiloxParams params;
  params.counters = arguments.read(counters, {count, 4}, "counters");
  params.keys = arguments.read(keys, {2}, "keys");
  params.count = count;
  Tensor y = new_dense(counters, {count, 4}, ScalarType::Long);
  if (count == 0) return y;
  params.words = static_cast<int64_t*>(y.mutable_data_ptr());
  const Tensor floating = new_dense(counters, {0}, ScalarType::Float);  // names the element type
  run_kernel<float>(
      kName, floating, [&] { cpu::philox4x32(params, parallel_for); },
      [&](const auto& target) { return cuda::philox4x32(params, target); });
  return y;
}

Tensor normal(const Tensor& seed, const Tensor& step, const Tensor& first_sample, int64_t samples,
              int64_t elements, int64_t stream) {
  constexpr const char* kName = "philox_normal";
  STD_TORCH_CHECK(samples >= 0 && elements >= 0 && stream >= 0 && stream < 256, kName,
                  ": sizes must not be negative, and stream must be in 0..255");
  Arguments<float> arguments(kName, seed);
  NormalParams params;
  params.key = read_noise_key(arguments, seed, step, first_sample);
  params.stream = static_cast<int>(stream);
  params.samples = samples;
  params.elements = elements;
  Tensor y = new_dense(seed, {samples, elements}, ScalarType::Float);
  if (y.numel() == 0) return y;
  params.y = static_cast<float*>(y.mutable_data_ptr());
  run_kernel<float>(
      kName, y, [&] { cpu::philox_normal(params, parallel_for); },
      [&](const auto& target) { return cuda::philox_normal(params, target); });
  return y;
}

DELTAFAST_IMPLEMENT_CPU_AND_CUDA(library) {
  library.impl("philox4x32", TORCH_BOX(&words));
  library.impl("philox_normal", TORCH_BOX(&normal));
}

}  // namespace
}  // namespace deltafast::ops
