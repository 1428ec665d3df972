// kernels/cuda/sm90/instructions.cuh for the emulation: the same functions.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>

#include "emulation/barrier.h"
#include "emulation/tensor_box.h"
#include "emulation/warpgroup.h"

#define DELTAFAST_WARPGROUPS 1

namespace deltafast::cuda {

inline void begin_barrier(unsigned barrier, int arrivals) {
  emulation::begin_barrier(barrier, arrivals);
}

inline void show_barriers() { emulation::show_barriers(); }

inline void arrive(unsigned barrier) { emulation::arrive(barrier, 0); }

inline void arrive_expecting(unsigned barrier, unsigned bytes) {
  emulation::arrive(barrier, static_cast<long>(bytes));
}

inline void wait_phase(unsigned barrier, unsigned parity) {
  emulation::wait_phase(barrier, parity);
}

inline void named_barrier(int number, int threads, int line = __builtin_LINE()) {
  emulation::named_barrier(number, threads, line);
}

inline void prefetch_map(const CUtensorMap*) {}

inline void load_box(unsigned to, const CUtensorMap* map, unsigned barrier, int at0, int at1,
                     int at2) {
  const int at[] = {at0, at1, at2};
  emulation::load_box(to, map, barrier, at, 3);
}

inline void load_box(unsigned to, const CUtensorMap* map, unsigned barrier, int at0, int at1,
                     int at2, int at3) {
  const int at[] = {at0, at1, at2, at3};
  emulation::load_box(to, map, barrier, at, 4);
}

inline void store_box(const CUtensorMap* map, unsigned from, int at0, int at1, int at2, int at3) {
  const int at[] = {at0, at1, at2, at3};
  emulation::store_box(map, from, at, 4);
}

inline void commit_stores() { emulation::commit_stores(); }

template <int kPending>
inline void wait_stores() {
  emulation::wait_stores(kPending);
}

inline void show_writes() { emulation::show_writes(); }

inline void store_matrices(unsigned address, const unsigned (&values)[4],
                           int line = __builtin_LINE()) {
  emulation::store_matrices(address, values, line);
}

inline void begin_products(int line = __builtin_LINE()) { emulation::begin_products(line); }

inline void commit_products(int line = __builtin_LINE()) { emulation::commit_products(line); }

template <int kPending>
inline void wait_products(int line = __builtin_LINE()) {
  emulation::wait_products(kPending, line);
}

template <int kCount>
inline void hold(float (&)[kCount]) {}

template <typename T, int kSums>
inline void multiply_async(float (&sums)[kSums], uint64_t a, uint64_t b, bool adds,
                           int line = __builtin_LINE()) {
  const auto convert = [](uint16_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(value));
    return static_cast<float>(value);
  };
  emulation::multiply_async(sums, 2 * kSums, a, b, adds, convert, line);
}

template <int kRegisters>
inline void give_registers(int line = __builtin_LINE()) {
  emulation::change_registers(kRegisters, false, line);
}

template <int kRegisters>
inline void take_registers(int line = __builtin_LINE()) {
  emulation::change_registers(kRegisters, true, line);
}

}  // namespace deltafast::cuda
