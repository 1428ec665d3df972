// Products of a warpgroup, four warps, and its registers (wgmma, setmaxnreg).
//
// A product is done as late as it may: when its warpgroup waits for it. Until then its sums are NaN
// in the registers, which nobody may touch, and its operands in shared memory must stay as they
// were when it began. `line` is where an instruction is called; all 128 threads must be there, as
// its four warps must on a GPU.
#pragma once

#include <cstdint>

namespace deltafast::emulation {

// 16-bit elements to floats.
using Convert = float (*)(uint16_t bits);

void begin_products(int line);
// sums [64, columns] = a [64, 16] b^T [columns, 16], or += where `adds`; columns / 2 of this
// thread.
void multiply_async(float* sums, int columns, uint64_t a, uint64_t b, bool adds, Convert convert,
                    int line);
void commit_products(int line);
void wait_products(int pending, int line);

// To have `registers` a thread from here on: less than before, or more.
void change_registers(int registers, bool more, int line);

// Called for every block.
void begin_groups(int threads);

}  // namespace deltafast::emulation
