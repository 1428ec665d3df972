// Scratch memory of one range of units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace deltafast::cpu::DELTAFAST_ISA {

// One block, given out in pieces that start on cache lines.
template <typename A>
class ScratchBlock {
 public:
  // `pieces` is the number of calls of `take`, `elements` what they take together.
  ScratchBlock(int64_t elements, int pieces)
      : memory_(::operator new((static_cast<std::size_t>(elements) + (pieces + 1) * kLine) *
                               sizeof(A))) {
    next_ = reinterpret_cast<A*>((reinterpret_cast<uintptr_t>(memory_) + 63) & ~uintptr_t{63});
  }
  ~ScratchBlock() { ::operator delete(memory_); }
  ScratchBlock(const ScratchBlock&) = delete;
  ScratchBlock& operator=(const ScratchBlock&) = delete;

  A* take(int64_t elements) {
    A* result = next_;
    next_ += (elements + kLine - 1) / kLine * kLine;
    return result;
  }

 private:
  static constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(A));
  void* memory_;
  A* next_;
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
