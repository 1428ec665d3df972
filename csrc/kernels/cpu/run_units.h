// Hands ranges of a kernel's units to the caller's threads.
#pragma once

#include "kernels/parallel.h"

namespace deltafast::cpu {

// At least `grain` units go to a thread.
template <typename Params>
void run_units(void (*kernel)(const Params&, int64_t, int64_t), const Params& params, int64_t units,
               int64_t grain, ParallelFor parallel_for) {
  struct Work {
    void (*kernel)(const Params&, int64_t, int64_t);
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

}  // namespace deltafast::cpu
