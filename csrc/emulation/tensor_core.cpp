#include "emulation/tensor_core.h"

#include <cstring>

#include "emulation/grid.h"

namespace deltafast::emulation {
namespace {

constexpr int kLanes = 32;

struct LoadingLane {
  unsigned* result;
  unsigned address;
};

void load_together(void* const* given) {
  constexpr unsigned kRowBytes = 16;
  for (int matrix = 0; matrix < 4; ++matrix) {
    for (int row = 0; row < 8; ++row) {
      const auto* giving = static_cast<LoadingLane*>(given[8 * matrix + row]);
      const unsigned char* values = at_shared_address(giving->address, kRowBytes);
      if (!values) return;
      for (int pair = 0; pair < 4; ++pair) {
        auto* receiving = static_cast<LoadingLane*>(given[4 * row + pair]);
        std::memcpy(&receiving->result[matrix], values + 4 * pair, 4);
      }
    }
  }
}

struct MultiplyingLane {
  float* sums;
  const float* a;
  const float* b;
};

void multiply_together(void* const* given) {
  float left[16][16], right[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto* of = static_cast<MultiplyingLane*>(given[lane]);
    const int group = lane / 4, place = lane % 4;
    for (int i = 0; i < 8; ++i) {
      left[group + (i % 4 < 2 ? 0 : 8)][2 * place + i % 2 + (i > 3 ? 8 : 0)] = of->a[i];
    }
    for (int i = 0; i < 4; ++i) right[2 * place + i % 2 + (i > 1 ? 8 : 0)][group] = of->b[i];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    float* sums = static_cast<MultiplyingLane*>(given[lane])->sums;
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + (i < 2 ? 0 : 8), column = 2 * (lane % 4) + i % 2;
      for (int k = 0; k < 16; ++k) sums[i] += left[row][k] * right[k][column];
    }
  }
}

}  // namespace

void load_matrices(unsigned* result, unsigned address, int line) {
  LoadingLane mine{result, address};
  meet(load_together, &mine, line);
}

void multiply(float* sums, const float* a, const float* b, int line) {
  MultiplyingLane mine{sums, a, b};
  meet(multiply_together, &mine, line);
}

}  // namespace deltafast::emulation
