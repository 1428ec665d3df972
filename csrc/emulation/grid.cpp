#undef _FORTIFY_SOURCE  // its longjmp takes another stack for a mistake
#include "emulation/grid.h"

#include <ucontext.h>

#include <csetjmp>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "emulation/asynchronous_copy.h"
#include "emulation/barrier.h"
#include "emulation/tensor_box.h"
#include "emulation/warpgroup.h"

namespace deltafast::emulation {

Index threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {

// What the driver refuses without further settings.
constexpr uint64_t kMaxThreads = 1024, kMaxShared = 48 * 1024;
constexpr uint64_t kMaxX = (uint64_t{1} << 31) - 1, kMaxYZ = 65535;

constexpr int kWarp = 32, kGroup = 128;
constexpr size_t kStack = 128 * 1024, kGuard = 4096;
constexpr unsigned char kPoison = 0xFF;  // NaN in every floating-point type

enum class State { kReady, kAtBarrier, kAtShuffle, kWaiting, kDone };

// Contexts begin a fiber; from then on jumps switch, which need no system call.
struct Fiber {
  ucontext_t context;
  std::jmp_buf place;
  bool begun = false;
  std::unique_ptr<char[]> stack{new char[kStack]};
  State state = State::kDone;
  Index index;
  int line = 0;                          // of the barrier or shuffle that it waits at
  unsigned mask = 0;                     // of the shuffle that it waits at
  Together together = nullptr;           // of the instruction of a warp that it waits at
  void* handed = nullptr;                // to that
  bool (*ready)(const void*) = nullptr;  // whether it may go on, where it waits for that
  const void* closure = nullptr;         // of that
  unsigned shuffles = 0;                 // how many it has begun
  unsigned long long given[2] = {};      // to the last two of them
};

// Memory of a block with guards before and behind it.
class Guarded {
 public:
  void begin(size_t bytes) {
    bytes_ = bytes;
    memory_.assign(bytes + 2 * kGuard + kAlignment, kPoison);
  }
  void* get() {
    const auto at = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + kGuard + (kAlignment - at % kAlignment) % kAlignment;
  }
  bool is_whole() {
    const auto* from = static_cast<unsigned char*>(get());
    for (size_t i = 0; i < kGuard; ++i) {
      if (*(from - 1 - i) != kPoison || from[bytes_ + i] != kPoison) return false;
    }
    return true;
  }
  size_t size() const { return bytes_; }

 private:
  static constexpr size_t kAlignment = 16;  // no more: what a kernel assumes beyond is a mistake
  std::vector<unsigned char> memory_;
  size_t bytes_ = 0;
};

// Threads that have come to a named barrier, or to an instruction of a warpgroup.
struct Meeting {
  int line = 0, threads = 0, arrived = 0;
  unsigned times = 0;  // that all had come
  Together together = nullptr;
  void* handed[kGroup] = {};
};

constexpr int kNamedBarriers = 16;

struct Machine {
  std::vector<Fiber> fibers;
  size_t count = 0;  // of the threads of a block
  std::vector<Meeting> groups;
  Meeting named[kNamedBarriers];
  Fiber* running = nullptr;
  std::jmp_buf scheduler;
  void (*kernel)(const void*) = nullptr;
  const void* closure = nullptr;
  Guarded dynamic;
  std::map<std::pair<std::string, int>, Guarded> arrays;
  std::map<std::pair<std::string, int>, bool> begun;  // arrays of this block
  std::map<const void*, size_t> allowed;              // shared memory on request, by kernel
  std::string problem;                                // of this launch
  uint64_t launches = 0;
};

std::mutex mutex;
Machine machine;
thread_local int last_error = 0;
thread_local std::string last_text;

void body() {
  machine.kernel(machine.closure);
  end_copies();
  end_stores();
  machine.running->state = State::kDone;
  _longjmp(machine.scheduler, 1);
}

void wait(State state) {
  Fiber& fiber = *machine.running;
  fiber.state = state;
  if (_setjmp(fiber.place) == 0) _longjmp(machine.scheduler, 1);
}

void resume(Fiber& fiber) {
  machine.running = &fiber;
  threadIdx = fiber.index;
  if (_setjmp(machine.scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.place, 1);
  fiber.begun = true;
  setcontext(&fiber.context);
}

// Lets the lanes of the warp from thread `first` on go on, where all that a shuffle names have
// reached it.
bool release_warp(size_t first, size_t count) {
  const size_t last = first + kWarp < count ? first + kWarp : count;
  const Fiber* leader = nullptr;
  for (size_t i = first; i < last; ++i) {
    const Fiber& fiber = machine.fibers[i];
    if (fiber.state != State::kAtShuffle) continue;
    if (!leader) leader = &fiber;
    if (fiber.line != leader->line || fiber.mask != leader->mask ||
        fiber.together != leader->together) {
      fail("the lanes of a warp are at different shuffles or instructions");
    }
  }
  if (!leader) return false;
  for (size_t other = 0; other < kWarp; ++other) {
    if (!(leader->mask >> other & 1)) continue;
    if (first + other >= last || machine.fibers[first + other].state != State::kAtShuffle) {
      return false;
    }
  }
  if (leader->together && machine.problem.empty()) {
    void* handed[kWarp];
    for (size_t k = 0; k < kWarp; ++k) handed[k] = machine.fibers[first + k].handed;
    leader->together(handed);
  }
  for (size_t i = first; i < last; ++i) {
    if (machine.fibers[i].state == State::kAtShuffle) machine.fibers[i].state = State::kReady;
  }
  return true;
}

// Runs the threads of the warp from thread `first` on until each is done or waits for others;
// returns whether any of them ran.
bool run_warp(size_t first, size_t count, bool backwards, size_t& done) {
  const size_t last = first + kWarp < count ? first + kWarp : count;
  bool ran = false;
  do {
    for (size_t k = first; k < last; ++k) {
      Fiber& fiber = machine.fibers[backwards ? last - 1 - (k - first) : k];
      if (fiber.state == State::kWaiting && fiber.ready(fiber.closure)) fiber.state = State::kReady;
      if (fiber.state != State::kReady) continue;
      resume(fiber);
      ran = true;
      done += fiber.state == State::kDone;
    }
  } while (release_warp(first, count));
  return ran;
}

// Lets all threads go on that wait at the barrier, where no thread is elsewhere.
bool release_block(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (machine.fibers[i].state != State::kAtBarrier ||
        machine.fibers[i].line != machine.fibers[0].line) {
      return false;
    }
  }
  for (size_t i = 0; i < count; ++i) machine.fibers[i].state = State::kReady;
  return true;
}

size_t max_shared(const Configuration& configuration) {
  const auto found = machine.allowed.find(configuration.function);
  return found == machine.allowed.end() ? kMaxShared : found->second;
}

void run_block(uint64_t number, const Configuration& configuration) {
  const dim3& block = configuration.block;
  const size_t count = size_t{block.x} * block.y * block.z;
  machine.dynamic.begin(configuration.shared);
  machine.begun.clear();
  machine.count = count;
  machine.groups.assign((count + kGroup - 1) / kGroup, Meeting());
  for (Meeting& named : machine.named) named = Meeting();
  begin_copies(static_cast<int>(count));
  begin_barriers();
  begin_boxes(static_cast<int>(count), number % 2 != 0);
  begin_groups(static_cast<int>(count));
  for (size_t i = 0; i < count; ++i) {
    Fiber& fiber = machine.fibers[i];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, body, 0);
    fiber.state = State::kReady;
    fiber.begun = false;
    fiber.shuffles = 0;
    fiber.index = {static_cast<unsigned>(i % block.x), static_cast<unsigned>(i / block.x % block.y),
                   static_cast<unsigned>(i / block.x / block.y)};
  }
  size_t done = 0;
  const size_t warps = (count + kWarp - 1) / kWarp;
  for (uint64_t turn = number; done < count && machine.problem.empty(); ++turn) {
    const bool backwards = turn % 2 != 0;
    bool advanced = false;
    for (size_t k = 0; k < warps; ++k) {
      const size_t warp = backwards ? warps - 1 - k : k;
      advanced = run_warp(warp * kWarp, count, backwards, done) || advanced;
    }
    advanced = release_block(count) || advanced;
    if (!advanced && done < count) advanced = land_box();  // as late as it may
    if (!advanced && done < count) {
      fail("threads of a block wait at a barrier or shuffle that others do not reach");
    }
  }
  end_boxes();
  size_t shared = machine.dynamic.size();
  if (!machine.dynamic.is_whole()) fail("dynamic shared memory is written beyond its ends");
  for (const auto& [place, used] : machine.begun) {
    Guarded& array = machine.arrays[place];
    shared += array.size();
    if (!array.is_whole()) {
      fail("the shared array in line " + std::to_string(place.second) +
           " is written beyond its ends");
    }
  }
  if (shared > max_shared(configuration)) {
    fail("a block takes more shared memory than its kernel has asked for, 48 KiB otherwise");
  }
}

}  // namespace

void launch(const Configuration& configuration, void (*kernel)(const void*), const void* closure) {
  const std::lock_guard<std::mutex> lock(mutex);
  const dim3 &grid = configuration.grid, &block = configuration.block;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || block.z > 64 || grid.x == 0 || grid.y == 0 ||
      grid.z == 0 || grid.x > kMaxX || grid.y > kMaxYZ || grid.z > kMaxYZ ||
      configuration.shared > max_shared(configuration)) {
    last_error = 9;  // cudaErrorInvalidConfiguration
    last_text = "no GPU runs a grid of this size";
    return;
  }
  if (machine.fibers.size() < threads) machine.fibers = std::vector<Fiber>(threads);
  machine.kernel = kernel;
  machine.closure = closure;
  machine.problem.clear();
  gridDim = grid;
  blockDim = block;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  const bool backwards = ++machine.launches % 2 == 0;
  for (uint64_t k = 0; k < blocks && machine.problem.empty(); ++k) {
    const uint64_t i = backwards ? blocks - 1 - k : k;
    blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                static_cast<unsigned>(i / grid.x / grid.y)};
    run_block(k + machine.launches, configuration);
  }
  if (!machine.problem.empty()) {
    last_error = 719;  // cudaErrorLaunchFailure
    last_text = machine.problem;
  }
}

bool fail(const std::string& text) {
  if (machine.problem.empty()) machine.problem = text;
  return false;
}

bool allow_shared(const void* kernel, size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (bytes > kMaxSharedOnRequest) return false;
  machine.allowed[kernel] = bytes > kMaxShared ? bytes : kMaxShared;
  return true;
}

int take_error() { return std::exchange(last_error, 0); }

std::string take_text() { return std::exchange(last_text, {}); }

void check_bound(int threads) {
  if (blockDim.x * blockDim.y * blockDim.z > static_cast<unsigned>(threads)) {
    fail("a block has more threads than its kernel's __launch_bounds__");
  }
}

void block_barrier(int line) {
  machine.running->line = line;
  wait(State::kAtBarrier);
}

void wait_until(bool (*ready)(const void*), const void* closure) {
  if (ready(closure)) return;
  machine.running->ready = ready;
  machine.running->closure = closure;
  wait(State::kWaiting);
}

namespace {

// Lets the running thread wait until `threads` have come to a meeting; the last one does what they
// came for.
void come(Meeting& meeting, int threads, int line) {
  if (meeting.arrived > 0 && (meeting.line != line || meeting.threads != threads)) {
    fail("threads that should meet are at different barriers or instructions");
  }
  meeting.line = line;
  meeting.threads = threads;
  const unsigned times = meeting.times;
  if (++meeting.arrived < threads) return wait_until([&] { return meeting.times != times; });
  meeting.arrived = 0;
  if (meeting.together && machine.problem.empty()) meeting.together(meeting.handed);
  ++meeting.times;
}

}  // namespace

void meet_group(Together together, void* given, int line) {
  const auto number = static_cast<size_t>(thread_number());
  Meeting& meeting = machine.groups[number / kGroup];
  if (meeting.arrived > 0 && meeting.together != together) {
    fail("the warps of a warpgroup are at different instructions");
  }
  meeting.together = together;
  meeting.handed[number % kGroup] = given;
  come(meeting, kGroup, line);
}

void named_barrier(int number, int threads, int line) {
  if (number < 1 || number >= kNamedBarriers || threads % kWarp != 0 || threads < kWarp) {
    fail("a named barrier has a number from 1 to 15, and whole warps");
    return;
  }
  come(machine.named[number], threads, line);
}

int thread_count() { return static_cast<int>(machine.count); }

int thread_number() { return static_cast<int>(machine.running - machine.fibers.data()); }

int lane() { return thread_number() % kWarp; }

void meet(Together together, void* given, int line) {
  Fiber& fiber = *machine.running;
  fiber.together = together;
  fiber.handed = given;
  fiber.mask = 0xffffffffu;
  fiber.line = line;
  wait(State::kAtShuffle);
  fiber.together = nullptr;
}

unsigned shared_address(const void* pointer) {
  const auto* begin = static_cast<const unsigned char*>(machine.dynamic.get());
  return static_cast<unsigned>(static_cast<const unsigned char*>(pointer) - begin) + kFirstAddress;
}

unsigned char* at_shared_address(unsigned address, unsigned bytes) {
  const size_t offset = size_t{address} - kFirstAddress;  // wraps round below the first address
  if (offset + bytes > machine.dynamic.size() || offset > machine.dynamic.size()) {
    fail("an instruction reaches beyond the ends of dynamic shared memory");
    return nullptr;
  }
  if (address % bytes != 0) {
    fail("an instruction's address in shared memory is not a multiple of its size");
    return nullptr;
  }
  return static_cast<unsigned char*>(machine.dynamic.get()) + offset;
}

unsigned long long exchange(unsigned mask, unsigned long long given, int source, int line) {
  Fiber& fiber = *machine.running;
  const unsigned turn = fiber.shuffles++ % 2;
  fiber.given[turn] = given;
  fiber.mask = mask;
  fiber.line = line;
  if (!(mask >> lane() & 1) || !(mask >> source & 1)) {
    fail("a shuffle with lanes that its mask does not name");
  }
  wait(State::kAtShuffle);
  const size_t number = machine.running - machine.fibers.data();
  return machine.fibers[number / kWarp * kWarp + source].given[turn];
}

void* block_memory(const char* file, int line, size_t bytes) {
  const std::pair<std::string, int> place{file, line};
  Guarded& array = machine.arrays[place];
  bool& begun = machine.begun[place];
  if (!begun) array.begin(bytes);
  begun = true;
  return array.get();
}

void* dynamic_memory() { return machine.dynamic.get(); }

}  // namespace deltafast::emulation
