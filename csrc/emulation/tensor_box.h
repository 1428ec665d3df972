// Boxes of tensors that are copied between global and shared memory by maps (TMA).
//
// A load lands as late as it may: when no thread can go on without one; in the order of their
// beginning or against it, in turns. From its beginning on, what it will write is NaN. A store
// reads shared memory when its thread waits for that; what it reads must be what was there when it
// began, and shown to it. So wrong boxes, swizzles and phases, missing waits, fences and barriers
// give wrong results or errors.
#pragma once

#include "emulation/cuda.h"

namespace deltafast::emulation {

void load_box(unsigned to, const CUtensorMap* map, unsigned barrier, const int* at, int rank);
void store_box(const CUtensorMap* map, unsigned from, const int* at, int rank);
void commit_stores();
void wait_stores(int pending);

// Four 8 x 8 matrices of 16-bit elements to shared memory, by a whole warp: see tensor_core.h.
void store_matrices(unsigned address, const unsigned* values, int line);
void show_writes();

// Called for every block, and at the end of every thread and block.
void begin_boxes(int threads, bool last_first);
void end_stores();
void end_boxes();
// Lets a load land; false where none is on its way.
bool land_box();

}  // namespace deltafast::emulation
