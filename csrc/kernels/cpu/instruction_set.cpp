// The table of one copy of the CPU kernels; compiled once per instruction set (see dispatch.h).

#include "kernels/cpu/instruction_set.h"

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/matrix_tile.h"

namespace deltafast::cpu::DELTAFAST_ISA {

#define DELTAFAST_TYPED(name, Params) \
  template <typename A>               \
  void name(const Params<A>& params, int64_t begin, int64_t end);
#define DELTAFAST_PLAIN(name, Params) void name(const Params& params, int64_t begin, int64_t end);
DELTAFAST_CPU_KERNELS(DELTAFAST_TYPED, DELTAFAST_PLAIN)
#undef DELTAFAST_TYPED
#undef DELTAFAST_PLAIN

KernelTable kernel_table() {
  KernelTable table{};
  table.panel_bytes = kPanelVectors * int64_t{kVectorBytes};
#define DELTAFAST_TYPED(name, Params) table.name = {name<float>, name<double>};
#define DELTAFAST_PLAIN(name, Params) table.name = name;
  DELTAFAST_CPU_KERNELS(DELTAFAST_TYPED, DELTAFAST_PLAIN)
#undef DELTAFAST_TYPED
#undef DELTAFAST_PLAIN
  return table;
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
