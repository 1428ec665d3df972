// Where a kernel runs: on its caller's threads, or on a CUDA stream. Torch-free.
#pragma once

#include <cstdint>

namespace deltafast {

// How a CPU kernel asks for all cores without knowing whose thread pool it runs on: calls
// `body(begin, end, context)` on disjoint ranges that cover [0, count), each at least `grain` long
// but the last.
using ParallelBody = void (*)(int64_t begin, int64_t end, void* context);
using ParallelFor = void (*)(int64_t count, int64_t grain, ParallelBody body, void* context);

namespace cuda {

enum class Element { kFloat, kHalf, kBfloat16 };

// Entry points of CUDA kernels work on the current device, asynchronously on the given stream, and
// return the launch's cudaError_t as an int (0 is success).
struct CudaTarget {
  Element element = Element::kFloat;  // type of x, y and their gradients
  void* stream = nullptr;             // a cudaStream_t
};

}  // namespace cuda
}  // namespace deltafast
