// Runs CUDA kernels on a CPU, to see that they are right where there is no GPU: block after block,
// the threads of a block as fibers. A warp runs until all of its threads wait at a barrier, then
// the next one does; threads, warps and blocks run in an order that is turned round from barrier to
// barrier and from launch to launch; shared memory begins as NaN and has guards around every array.
// So a missing barrier, a value that was never written and an index beyond an array show up as
// wrong results or as an error. Slow, and for tests alone.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>

namespace deltafast::emulation {

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// Of the thread that is running.
extern Index threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// What stands between <<< and >>>.
struct Configuration {
  dim3 grid, block;
  size_t shared = 0;
  const void* function = nullptr;  // the kernel, whose limit of shared memory counts
  Configuration(dim3 grid_, dim3 block_, size_t shared_ = 0, const void* stream = nullptr)
      : grid(grid_), block(block_), shared(shared_) {
    (void)stream;
  }
  Configuration of(const void* kernel) const {
    Configuration result = *this;
    result.function = kernel;
    return result;
  }
};

// The most shared memory of a block where a kernel asks for it. Which kernel may ask for what is
// held by tests of their sizes; here it is sm_90's, the most of all.
constexpr size_t kMaxSharedOnRequest = 227 * 1024;
// Lets `kernel` take up to `bytes`; false where no GPU has them.
bool allow_shared(const void* kernel, size_t bytes);

// Runs `kernel(closure)` once for every thread of the grid; errors wait for take_error.
void launch(const Configuration& configuration, void (*kernel)(const void*), const void* closure);

template <typename Kernel>
void launch(const Configuration& configuration, const Kernel& kernel) {
  launch(
      configuration, [](const void* closure) { (*static_cast<const Kernel*>(closure))(); },
      &kernel);
}

// The code of the last launch's error, 0 for none, and forgets it.
int take_error();
// What was wrong with the last launch that failed, and forgets it.
std::string take_text();
// Makes a launch fail whose blocks have more threads than __launch_bounds__ says.
void check_bound(int threads);

// __syncthreads, `line` being where it is called.
void block_barrier(int line);

int lane();
// Gives 8 bytes to the lanes of this warp, at a shuffle called in `line`, and returns what lane
// `source` gave.
unsigned long long exchange(unsigned mask, unsigned long long given, int source, int line);

template <typename T>
T from_lane(unsigned mask, T value, int source, int line) {
  static_assert(sizeof(T) <= sizeof(unsigned long long));
  unsigned long long bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(mask, bits, source, line);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <typename T>
T shuffle_down(unsigned mask, T value, int offset, int line) {
  const int source = lane() + offset;
  return from_lane(mask, value, source < 32 ? source : lane(), line);
}

template <typename T>
T shuffle_xor(unsigned mask, T value, int offset, int line) {
  return from_lane(mask, value, lane() ^ offset, line);
}

// Lets all 32 lanes of the running warp meet at `line`. The last one to come calls `together` with
// what each of them gave, before any goes on: an instruction of the whole warp.
using Together = void (*)(void* const* given);
void meet(Together together, void* given, int line);

// The same for the 128 threads of a warpgroup.
void meet_group(Together together, void* given, int line);

// Lets the running thread wait until `ready(closure)`.
void wait_until(bool (*ready)(const void*), const void* closure);
template <typename Ready>
void wait_until(const Ready& ready) {
  wait_until([](const void* closure) { return (*static_cast<const Ready*>(closure))(); }, &ready);
}

// bar.sync: lets `threads` threads meet at the barrier of this number, at `line`.
void named_barrier(int number, int threads, int line);

// The number of the running thread in its block, and how many there are.
int thread_number();
int thread_count();
// Makes the launch fail, as a GPU would do or should; false, for whoever has to give something
// back.
bool fail(const std::string& text);

// Addresses in shared memory as instructions take them: bytes of the dynamic array, counted from
// kFirstAddress. Fails, and returns null, where not all `bytes` lie in the array, or not aligned.
// What is aligned to more than 16 bytes is so by the kernel's own doing: the first address is not.
constexpr unsigned kFirstAddress = 1024 + 16;
unsigned shared_address(const void* pointer);
unsigned char* at_shared_address(unsigned address, unsigned bytes);

// A function of the driver by its name, null where it is not known.
void* driver_function(const char* name);

// The block's memory for the array that is declared at `line` of `file`, and the dynamic one.
void* block_memory(const char* file, int line, size_t bytes);
void* dynamic_memory();

template <typename T>
T& block_array(const char* file, int line) {
  return *static_cast<T*>(block_memory(file, line, sizeof(T)));
}

}  // namespace deltafast::emulation
