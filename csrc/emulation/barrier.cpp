#include "emulation/barrier.h"

#include <cstdint>
#include <cstring>
#include <map>

#include "emulation/grid.h"

namespace deltafast::emulation {
namespace {

constexpr unsigned kBytes = 8;
constexpr uint64_t kMark = 0x6d62617272696572;
constexpr int kMaxArrivals = (1 << 20) - 1;
constexpr long kMaxBytes = (1L << 20) - 1;

struct Barrier {
  int arrivals = 0;  // of a phase
  int pending = 0;   // of this one
  long bytes = 0;    // that this phase still waits for
  unsigned phases = 0;
  int owner = 0;  // the thread that began it
  bool shown = false;
};

std::map<unsigned, Barrier> barriers;

Barrier* find(unsigned address) {
  const auto found = barriers.find(address);
  if (found == barriers.end()) {
    fail("a barrier in shared memory is used that has not begun");
    return nullptr;
  }
  const unsigned char* at = at_shared_address(address, kBytes);
  if (!at || std::memcmp(at, &kMark, kBytes) != 0) {
    fail("a barrier in shared memory is written over");
    return nullptr;
  }
  if (!found->second.shown) {
    fail("a barrier in shared memory is used before it was shown");
    return nullptr;
  }
  return &found->second;
}

void end_phase(Barrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.arrivals;
  ++barrier.phases;
}

}  // namespace

void begin_barriers() { barriers.clear(); }

void begin_barrier(unsigned barrier, int arrivals) {
  unsigned char* at = at_shared_address(barrier, kBytes);
  if (!at) return;
  if (arrivals < 1 || arrivals > kMaxArrivals) {
    fail("a barrier in shared memory waits for too few or too many");
    return;
  }
  std::memcpy(at, &kMark, kBytes);
  barriers[barrier] = {arrivals, arrivals, 0, 0, thread_number(), false};
}

void show_barriers() {
  for (auto& [address, barrier] : barriers) {
    if (barrier.owner == thread_number()) barrier.shown = true;
  }
}

void arrive(unsigned address, long bytes) {
  Barrier* barrier = find(address);
  if (!barrier) return;
  if (barrier->pending == 0) {
    fail("more arrive at a barrier in shared memory than it waits for");
    return;
  }
  barrier->bytes += bytes;
  --barrier->pending;
  if (barrier->bytes > kMaxBytes) fail("a barrier in shared memory waits for too many bytes");
  end_phase(*barrier);
}

void complete(unsigned address, long bytes) {
  Barrier* barrier = find(address);
  if (!barrier) return;
  barrier->bytes -= bytes;
  end_phase(*barrier);
}

void wait_phase(unsigned address, unsigned parity) {
  const Barrier* barrier = find(address);
  if (!barrier) return;
  if (parity > 1) {
    fail("a phase has parity 0 or 1");
    return;
  }
  wait_until([&] { return barrier->phases % 2 != parity; });
}

}  // namespace deltafast::emulation
