// Runs of normal noise, for the CPU kernels that draw it on the fly. Included inside one copy of
// the kernels only.
#pragma once

#include <cstdint>

#include "kernels/cpu/instruction_set.h"
#include "kernels/shared/philox.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

// Elements [begin, begin + count) of the sample behind `source`, to out[0 .. count).
inline void fill_normals(const NoiseSource& source, int64_t begin, int64_t count, float* out) {
  constexpr int kBlocks = 32;  // counters at a time: the loops below run over them, vectorised
  alignas(64) uint32_t words[4][kBlocks];
  alignas(64) float values[4][kBlocks];
  int64_t done = 0;
  while (done < count) {
    const int64_t element = begin + done;
    const uint32_t first = static_cast<uint32_t>(element / 4);
    for (int i = 0; i < kBlocks; ++i) {
      const Philox block = noise_bits(source, first + static_cast<uint32_t>(i));
      for (int lane = 0; lane < 4; ++lane) words[lane][i] = block.at[lane];
    }
    for (int i = 0; i < kBlocks; ++i) {
      const NormalPair pair = normals_of(words[0][i], words[1][i]);
      values[0][i] = pair.at[0];
      values[1][i] = pair.at[1];
    }
    for (int i = 0; i < kBlocks; ++i) {
      const NormalPair pair = normals_of(words[2][i], words[3][i]);
      values[2][i] = pair.at[0];
      values[3][i] = pair.at[1];
    }
    const int64_t skipped = element % 4;
    const int64_t left = count - done;
    const int64_t taken = left < 4 * kBlocks - skipped ? left : 4 * kBlocks - skipped;
    if (skipped == 0 && taken == 4 * kBlocks) {
      float* __restrict__ to = out + done;
      for (int i = 0; i < kBlocks; ++i) {
        for (int lane = 0; lane < 4; ++lane) to[4 * i + lane] = values[lane][i];
      }
    } else {
      for (int64_t k = 0; k < taken; ++k) {
        out[done + k] = values[(skipped + k) % 4][(skipped + k) / 4];
      }
    }
    done += taken;
  }
}

}  // namespace
}  // namespace deltafast::cpu::DELTAFAST_ISA
