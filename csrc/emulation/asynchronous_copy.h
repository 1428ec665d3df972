// Copies to shared memory that a thread begins and does not wait for (cp.async).
//
// They land as late as they may: when the thread waits for them. From its beginning on, what a copy
// will write is NaN. So a missing wait, a missing barrier behind it, and a buffer that is filled
// again while others still read it give wrong results.
#pragma once

namespace deltafast::emulation {

// 16 bytes from `from`, or zeros where `exists` is false, to the shared address `to`.
void begin_copy(unsigned to, const void* from, bool exists);
// Makes a group of the copies that the thread has begun since its last group.
void commit_copies();
// Lets all but the thread's last `pending` groups land.
void wait_copies(int pending);

// Called for every block, and at the end of every thread: a copy that is still on its way then is
// an error.
void begin_copies(int threads);
void end_copies();

}  // namespace deltafast::emulation
