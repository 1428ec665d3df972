// Every CPU kernel file is compiled once per instruction set, with DELTAFAST_ISA naming the
// namespace of that copy. The tables below hold the copies; the best one that this processor runs
// is chosen once, at the first call.
#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_list.h"

namespace deltafast::cpu {

template <typename Params>
using Kernel = void (*)(const Params&, int64_t begin, int64_t end);

template <template <typename> class Params>
struct TypedKernel {
  Kernel<Params<float>> f32;
  Kernel<Params<double>> f64;
};

struct KernelTable {
  int64_t panel_bytes;  // of one row of a packed panel
#define DELTAFAST_TYPED(name, Params) TypedKernel<Params> name;
#define DELTAFAST_PLAIN(name, Params) Kernel<Params> name;
  DELTAFAST_CPU_KERNELS(DELTAFAST_TYPED, DELTAFAST_PLAIN)
#undef DELTAFAST_TYPED
#undef DELTAFAST_PLAIN
};

namespace baseline {
KernelTable kernel_table();
}
#if defined(DELTAFAST_X86)
namespace avx2 {
KernelTable kernel_table();
}
namespace avx512 {
KernelTable kernel_table();
}
#endif

// The table in use.
const KernelTable& kernels();

// Names of the instruction sets that this build has and this processor runs, best first, ended by
// null.
const char* const* runnable_instruction_sets();

// The instruction set in use, and a way for tests to use another one; false where it is not
// runnable.
const char* instruction_set();
bool use_instruction_set(const char* name);

}  // namespace deltafast::cpu
