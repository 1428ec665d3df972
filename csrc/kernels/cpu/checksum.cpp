// CPU kernel of the checksum; compiled once per instruction set (see dispatch.h).
//
// A unit is a part of kChecksumPart bytes: its words go into kWords sums side by side, which go
// into one in the end.

#include "kernels/checksum.h"

#include <cstring>

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/kernel_list.h"
#include "kernels/cpu/vector.h"
#include "kernels/shared/checksum_mix.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

constexpr int kWords = 32;  // sums in flight: products take long, and do not wait for each other
constexpr int64_t kLine = kWords * static_cast<int64_t>(sizeof(uint64_t));

#if defined(__GNUC__)
typedef uint64_t Words __attribute__((vector_size(kVectorBytes)));
#else
using Words = uint64_t;
#endif
constexpr int kRegisters = kLine / static_cast<int64_t>(sizeof(Words));

struct Sums {
  Words of[kRegisters];

  void add(const char* line) {
#pragma GCC unroll 16
    for (int i = 0; i < kRegisters; ++i) {
      Words words;
      std::memcpy(&words, line + i * static_cast<int>(sizeof words), sizeof words);
      of[i] = checksum_mix(of[i], words);
    }
  }
};

}  // namespace

void checksum(const ChecksumParams& p, int64_t begin, int64_t end) {
  for (int64_t part = begin; part < end; ++part) {
    const int64_t first = part * kChecksumPart;
    const int64_t bytes = p.bytes - first < kChecksumPart ? p.bytes - first : kChecksumPart;
    const char* from = static_cast<const char*>(p.data) + first;
    uint64_t words[kWords];
    for (int i = 0; i < kWords; ++i) words[i] = static_cast<uint64_t>(i) + 1;
    Sums sums;
    std::memcpy(sums.of, words, sizeof words);
    int64_t at = 0;
    for (; at + kLine <= bytes; at += kLine) sums.add(from + at);
    if (at < bytes) {
      char rest[kLine] = {};
      std::memcpy(rest, from + at, static_cast<size_t>(bytes - at));
      sums.add(rest);
    }
    std::memcpy(words, sums.of, sizeof words);
    uint64_t sum = static_cast<uint64_t>(bytes);
    for (int i = 0; i < kWords; ++i) sum = checksum_mix(sum, words[i]);
    p.parts[part] = sum;
  }
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
