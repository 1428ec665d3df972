// How a CPU kernel asks for all cores without knowing whose thread pool it runs on.
#pragma once

#include <cstdint>

namespace deltafast {

// Calls `body(begin, end, context)` on disjoint ranges that cover [0, count), each at least `grain`
// long but the last.
using ParallelBody = void (*)(int64_t begin, int64_t end, void* context);
using ParallelFor = void (*)(int64_t count, int64_t grain, ParallelBody body, void* context);

}  // namespace deltafast
