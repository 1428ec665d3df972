// Hands ranges of a kernel's units to the caller's threads.
#pragma once

#include "kernels/cpu/dispatch.h"

namespace deltafast::cpu {

// At least `grain` units go to a thread.
template <typename Params>
void run_units(Kernel<Params> kernel, const Params& params, int64_t units, int64_t grain,
               ParallelFor parallel_for) {
  struct Work {
    Kernel<Params> kernel;
    const Params* params;
  } work{kernel, &params};
  if (units <= 0) return;
  parallel_for(
      units, grain < 1 ? 1 : grain,
      [](int64_t begin, int64_t end, void* context) {
        const auto* work = static_cast<const Work*>(context);
        work->kernel(*work->params, begin, end);
      },
      &work);
}

template <template <typename> class Params>
void run_units(const TypedKernel<Params>& kernel, const Params<float>& params, int64_t units,
               int64_t grain, ParallelFor parallel_for) {
  run_units(kernel.f32, params, units, grain, parallel_for);
}

template <template <typename> class Params>
void run_units(const TypedKernel<Params>& kernel, const Params<double>& params, int64_t units,
               int64_t grain, ParallelFor parallel_for) {
  run_units(kernel.f64, params, units, grain, parallel_for);
}

}  // namespace deltafast::cpu

// Compiles an entry point's template for the two types that CPU kernels take.
#define DELTAFAST_ENTRY(name, Params)                           \
  template void name<float>(const Params<float>&, ParallelFor); \
  template void name<double>(const Params<double>&, ParallelFor);
