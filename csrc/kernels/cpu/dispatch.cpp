#include "kernels/cpu/dispatch.h"

#include <atomic>
#include <cstring>

namespace deltafast::cpu {
namespace {

struct Candidate {
  const char* name;
  KernelTable table;
};

struct Candidates {
  Candidate items[3];
  const char* names[4] = {nullptr, nullptr, nullptr, nullptr};
  int count = 0;

  void add(const char* name, const KernelTable& table) {
    items[count] = {name, table};
    names[count] = name;
    ++count;
  }

  Candidates() {
#if defined(DELTAFAST_X86)
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      add("avx512", avx512::kernel_table());
    }
    if (has_avx2) add("avx2", avx2::kernel_table());
#endif
    add("baseline", baseline::kernel_table());
  }
};

const Candidates& candidates() {
  static const Candidates all;
  return all;
}

std::atomic<int> chosen{0};

}  // namespace

const KernelTable& kernels() {
  return candidates().items[chosen.load(std::memory_order_relaxed)].table;
}

const char* const* runnable_instruction_sets() { return candidates().names; }

const char* instruction_set() { return candidates().items[chosen.load()].name; }

bool use_instruction_set(const char* name) {
  for (int i = 0; i < candidates().count; ++i) {
    if (std::strcmp(candidates().items[i].name, name) == 0) {
      chosen.store(i);
      return true;
    }
  }
  return false;
}

}  // namespace deltafast::cpu
