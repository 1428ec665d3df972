#include "emulation/grid.h"

#include <ucontext.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace deltafast::emulation {

Index threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {

// What the driver refuses without further settings.
constexpr uint64_t kMostThreads = 1024, kMostShared = 48 * 1024;
constexpr uint64_t kMostX = (uint64_t{1} << 31) - 1, kMostYZ = 65535;

constexpr int kWarp = 32;
constexpr size_t kStack = 128 * 1024, kGuard = 256;
constexpr unsigned char kPoison = 0xFF;  // NaN in every floating-point type

enum class State { kReady, kAtBarrier, kAtShuffle, kDone };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  State state = State::kDone;
  Index index;
  int line = 0;                      // of the barrier that it waits at
  unsigned mask = 0;                 // of the shuffle that it waits at
  unsigned shuffles = 0;             // how many it has begun
  unsigned long long given[2] = {};  // to the last two of them
};

// Memory of a block with a guard behind it.
class Guarded {
 public:
  void begin(size_t bytes) {
    bytes_ = bytes;
    memory_.assign(bytes + kGuard + kAlignment, kPoison);
  }
  void* get() {
    const auto at = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (kAlignment - at % kAlignment) % kAlignment;
  }
  bool is_whole() {
    const auto* guard = static_cast<unsigned char*>(get()) + bytes_;
    for (size_t i = 0; i < kGuard; ++i) {
      if (guard[i] != kPoison) return false;
    }
    return true;
  }
  size_t size() const { return bytes_; }

 private:
  static constexpr size_t kAlignment = 16;  // no more: what a kernel assumes beyond is a mistake
  std::vector<unsigned char> memory_;
  size_t bytes_ = 0;
};

struct Machine {
  std::vector<Fiber> fibers;
  Fiber* running = nullptr;
  ucontext_t scheduler;
  void (*kernel)(const void*) = nullptr;
  const void* closure = nullptr;
  Guarded dynamic;
  std::map<std::pair<std::string, int>, Guarded> arrays;
  std::map<std::pair<std::string, int>, bool> begun;  // arrays of this block
  std::string problem;                                // of this launch
};

std::mutex mutex;
Machine machine;
int last_error = 0;
std::string last_text;

void fail(const std::string& text) {
  if (machine.problem.empty()) machine.problem = text;
}

void body() {
  machine.kernel(machine.closure);
  machine.running->state = State::kDone;
  swapcontext(&machine.running->context, &machine.scheduler);
}

void wait(State state) {
  Fiber& fiber = *machine.running;
  fiber.state = state;
  swapcontext(&fiber.context, &machine.scheduler);
}

void resume(Fiber& fiber) {
  machine.running = &fiber;
  threadIdx = fiber.index;
  swapcontext(&machine.scheduler, &fiber.context);
}

// Lets the lanes of a warp go on whose shuffle all lanes of its mask have reached.
bool release_warp(size_t first, size_t count) {
  bool released = false;
  for (size_t i = first; i < count && i < first + kWarp; ++i) {
    Fiber& fiber = machine.fibers[i];
    if (fiber.state != State::kAtShuffle) continue;
    for (size_t other = 0; other < kWarp; ++other) {
      if (!(fiber.mask >> other & 1)) continue;
      if (first + other >= count || machine.fibers[first + other].state != State::kAtShuffle) {
        return false;
      }
    }
    released = true;
  }
  for (size_t i = first; released && i < count && i < first + kWarp; ++i) {
    if (machine.fibers[i].state == State::kAtShuffle) machine.fibers[i].state = State::kReady;
  }
  return released;
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

void run_block(uint64_t number, const Configuration& configuration) {
  const dim3& block = configuration.block;
  const size_t count = size_t{block.x} * block.y * block.z;
  machine.dynamic.begin(configuration.shared);
  machine.begun.clear();
  for (size_t i = 0; i < count; ++i) {
    Fiber& fiber = machine.fibers[i];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, body, 0);
    fiber.state = State::kReady;
    fiber.index = {static_cast<unsigned>(i % block.x), static_cast<unsigned>(i / block.x % block.y),
                   static_cast<unsigned>(i / block.x / block.y)};
  }
  size_t done = 0;
  for (uint64_t turn = number; done < count; ++turn) {
    bool advanced = false;
    for (size_t k = 0; k < count; ++k) {
      Fiber& fiber = machine.fibers[turn % 2 == 0 ? k : count - 1 - k];
      if (fiber.state != State::kReady) continue;
      resume(fiber);
      advanced = true;
      done += fiber.state == State::kDone;
    }
    for (size_t first = 0; first < count; first += kWarp) {
      advanced = release_warp(first, count) || advanced;
    }
    advanced = release_block(count) || advanced;
    if (!advanced && done < count) {
      return fail("threads of a block wait at a barrier or shuffle that others do not reach");
    }
  }
  size_t shared = machine.dynamic.size();
  if (!machine.dynamic.is_whole()) fail("dynamic shared memory is written beyond its end");
  for (const auto& [place, used] : machine.begun) {
    Guarded& array = machine.arrays[place];
    shared += array.size();
    if (!array.is_whole()) {
      fail("the shared array in line " + std::to_string(place.second) +
           " is written beyond its end");
    }
  }
  if (shared > kMostShared) fail("a block takes more than 48 KiB of shared memory");
}

}  // namespace

void launch(const Configuration& configuration, void (*kernel)(const void*), const void* closure) {
  const std::lock_guard<std::mutex> lock(mutex);
  const dim3 &grid = configuration.grid, &block = configuration.block;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMostThreads || block.z > 64 || grid.x == 0 || grid.y == 0 ||
      grid.z == 0 || grid.x > kMostX || grid.y > kMostYZ || grid.z > kMostYZ ||
      configuration.shared > kMostShared) {
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
  for (uint64_t i = 0; i < blocks && machine.problem.empty(); ++i) {
    blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                static_cast<unsigned>(i / grid.x / grid.y)};
    run_block(i, configuration);
  }
  if (!machine.problem.empty()) {
    last_error = 719;  // cudaErrorLaunchFailure
    last_text = machine.problem;
  }
}

int take_error() { return std::exchange(last_error, 0); }

const std::string& error_text() { return last_text; }

void block_barrier(int line) {
  machine.running->line = line;
  wait(State::kAtBarrier);
}

int lane() {
  const size_t number = machine.running - machine.fibers.data();
  return static_cast<int>(number % kWarp);
}

unsigned long long exchange(unsigned mask, unsigned long long given, int source) {
  Fiber& fiber = *machine.running;
  const unsigned turn = fiber.shuffles++ % 2;
  fiber.given[turn] = given;
  fiber.mask = mask;
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
