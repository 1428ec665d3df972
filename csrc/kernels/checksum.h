// A checksum of memory, to know it again: 64 bits, any change shows but for chance. Free of torch.
#pragma once

#include <cstdint>

#include "kernels/target.h"

namespace deltafast {

constexpr int64_t kChecksumPart = int64_t{1} << 18;  // bytes that one unit of work owns

struct ChecksumParams {
  const void* data = nullptr;
  int64_t bytes = 0;
  uint64_t* parts = nullptr;  // one sum for every kChecksumPart bytes
};

namespace cpu {
// The same on every instruction set, for any number of threads.
uint64_t checksum(const void* data, int64_t bytes, ParallelFor parallel_for);
}  // namespace cpu

}  // namespace deltafast
