// One vector register of the instruction set that this copy is compiled for, as a value type.
#pragma once

#include <cstdint>

#include "kernels/shared/macros.h"

namespace deltafast::cpu::DELTAFAST_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename A>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(A));

#if defined(__GNUC__)

template <typename A>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
};
template <typename A>
using Vector = typename VectorOf<A>::Type;

template <typename A>
DELTAFAST_HD Vector<A> splat(A value) {
  return value - Vector<A>{};
}

template <typename A>
DELTAFAST_HD Vector<A> load(const A* p) {
  Vector<A> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <typename A>
DELTAFAST_HD void store(A* p, Vector<A> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// positive where `condition` > 0, else other.
template <typename A>
DELTAFAST_HD Vector<A> where_positive(Vector<A> condition, Vector<A> positive, Vector<A> other) {
  return condition > Vector<A>{} ? positive : other;
}

#else  // compilers without vector types: small arrays

template <typename A>
struct Vector {
  A lane[kLanes<A>] = {};
  A& operator[](int i) { return lane[i]; }
  A operator[](int i) const { return lane[i]; }
};

template <typename A>
DELTAFAST_HD Vector<A> operator+(Vector<A> a, const Vector<A>& b) {
  for (int i = 0; i < kLanes<A>; ++i) a.lane[i] += b.lane[i];
  return a;
}
template <typename A>
DELTAFAST_HD Vector<A> operator-(Vector<A> a, const Vector<A>& b) {
  for (int i = 0; i < kLanes<A>; ++i) a.lane[i] -= b.lane[i];
  return a;
}
template <typename A>
DELTAFAST_HD Vector<A> operator*(Vector<A> a, const Vector<A>& b) {
  for (int i = 0; i < kLanes<A>; ++i) a.lane[i] *= b.lane[i];
  return a;
}
template <typename A>
DELTAFAST_HD void operator+=(Vector<A>& a, const Vector<A>& b) {
  a = a + b;
}

template <typename A>
DELTAFAST_HD Vector<A> splat(A value) {
  Vector<A> v;
  for (int i = 0; i < kLanes<A>; ++i) v.lane[i] = value;
  return v;
}
template <typename A>
DELTAFAST_HD Vector<A> load(const A* p) {
  Vector<A> v;
  for (int i = 0; i < kLanes<A>; ++i) v.lane[i] = p[i];
  return v;
}
template <typename A>
DELTAFAST_HD void store(A* p, const Vector<A>& v) {
  for (int i = 0; i < kLanes<A>; ++i) p[i] = v.lane[i];
}
template <typename A>
DELTAFAST_HD Vector<A> where_positive(const Vector<A>& condition, Vector<A> positive,
                                      const Vector<A>& other) {
  for (int i = 0; i < kLanes<A>; ++i) {
    if (!(condition.lane[i] > A(0))) positive.lane[i] = other.lane[i];
  }
  return positive;
}

#endif

// Asks for the cache line at `p`, which need not exist, before it is read or written. Large maps
// come from memory in patterns that the processor does not foresee.
DELTAFAST_HD void fetch_ahead(const void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p);
#else
  (void)p;
#endif
}

// The first `count` lanes, in [0, kLanes]; the others are zero, and stay untouched in memory.
template <typename A>
DELTAFAST_HD Vector<A> load_some(const A* p, int64_t count) {
  if (count >= kLanes<A>) return load(p);
  A lanes[kLanes<A>] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load<A>(lanes);
}

template <typename A>
DELTAFAST_HD void store_some(A* p, Vector<A> v, int64_t count) {
  if (count >= kLanes<A>) return store(p, v);
  A lanes[kLanes<A>];
  store<A>(lanes, v);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
