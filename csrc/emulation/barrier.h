// Barriers in shared memory whose phases end when all have arrived and all bytes have come
// (mbarrier).
//
// Where a barrier lies, a mark stands in shared memory; whoever writes over it is found.
#pragma once

namespace deltafast::emulation {

void begin_barrier(unsigned barrier, int arrivals);
// Lets copies and other threads use the barriers that this thread has begun.
void show_barriers();
void arrive(unsigned barrier, long bytes);  // expecting so many more
void wait_phase(unsigned barrier, unsigned parity);
// Bytes that have come.
void complete(unsigned barrier, long bytes);

// Called for every block.
void begin_barriers();

}  // namespace deltafast::emulation
