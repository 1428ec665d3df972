#include "emulation/asynchronous_copy.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "emulation/grid.h"

namespace deltafast::emulation {
namespace {

constexpr unsigned kBytes = 16;

struct Copy {
  unsigned char* to;
  const void* from;  // null for zeros
  int group;
};

struct Queue {
  std::vector<Copy> copies;  // in the order of their beginning
  int groups = 0;            // committed
};

std::vector<Queue> queues;  // of the threads of a block

Queue& mine() { return queues[static_cast<size_t>(thread_number())]; }

}  // namespace

void begin_copies(int threads) { queues.assign(static_cast<size_t>(threads), Queue()); }

void begin_copy(unsigned to, const void* from, bool exists) {
  if (exists && reinterpret_cast<uintptr_t>(from) % kBytes != 0) {
    fail("an asynchronous copy from an address that is not a multiple of 16");
    return;
  }
  unsigned char* target = at_shared_address(to, kBytes);
  if (!target) return;
  std::memset(target, 0xFF, kBytes);
  mine().copies.push_back({target, exists ? from : nullptr, mine().groups});
}

void commit_copies() { ++mine().groups; }

void wait_copies(int pending) {
  Queue& queue = mine();
  size_t landed = 0;
  for (const Copy& copy : queue.copies) {
    if (copy.group >= queue.groups - pending) break;
    if (copy.from) {
      std::memcpy(copy.to, copy.from, kBytes);
    } else {
      std::memset(copy.to, 0, kBytes);
    }
    ++landed;
  }
  queue.copies.erase(queue.copies.begin(), queue.copies.begin() + static_cast<long>(landed));
}

void end_copies() {
  if (!mine().copies.empty()) fail("a thread ends while copies of its own are on their way");
}

}  // namespace deltafast::emulation
