// One step of the checksum: x goes into the sum h so that every bit of it reaches all others.
#pragma once

#include <cstdint>

#include "kernels/shared/macros.h"

namespace deltafast {

template <typename Word>
DELTAFAST_HD Word checksum_mix(Word h, Word x) {
  h ^= x;
  h = (h << 29) | (h >> 35);  // products carry upwards only; turning brings high bits down
  return h * 0x9e3779b97f4a7c15ull;
}

}  // namespace deltafast
