// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and the
// normal numbers made from it: a function of a counter and a key, so that noise needs no memory and
// no order.
//
// Element e of sample g, in stream t of step s, is output e % 4 of the counter
//   (e / 4, low 32 bits of g, low 32 bits of s, t | g[32..43] << 8 | s[32..43] << 20)
// under the key (low, high 32 bits of the seed).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(_MSC_VER)
#include <cmath>
#endif

#include "kernels/shared/macros.h"

namespace deltafast {

struct Philox {
  uint32_t at[4];
};

DELTAFAST_HD Philox philox_round(const Philox& in, uint32_t key0, uint32_t key1) {
  const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * in.at[0];
  const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * in.at[2];
  return {{static_cast<uint32_t>(product1 >> 32) ^ in.at[1] ^ key0, static_cast<uint32_t>(product1),
           static_cast<uint32_t>(product0 >> 32) ^ in.at[3] ^ key1,
           static_cast<uint32_t>(product0)}};
}

// Written out instead of looped, so that compilers vectorise loops around it.
DELTAFAST_HD Philox philox4x32(Philox words, uint32_t key0, uint32_t key1) {
  constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  words = philox_round(words, key0, key1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  words = philox_round(words, key0 += kWeyl0, key1 += kWeyl1);
  return words;
}

// What all elements of one sample's noise share.
struct NoiseSource {
  uint32_t key0;
  uint32_t key1;
  uint32_t sample;
  uint32_t step;
  uint32_t rest;
};

DELTAFAST_HD NoiseSource noise_source(int64_t seed, int64_t step, int64_t sample, int stream) {
  const auto low = [](int64_t v) {
    return static_cast<uint32_t>(static_cast<uint64_t>(v) & 0xFFFFFFFFu);
  };
  const auto high = [](int64_t v) { return static_cast<uint32_t>(static_cast<uint64_t>(v) >> 32); };
  return {
      low(seed), high(seed), low(sample), low(step),
      static_cast<uint32_t>(stream) | (high(sample) & 0xFFFu) << 8 | (high(step) & 0xFFFu) << 20};
}

DELTAFAST_HD Philox noise_bits(const NoiseSource& source, uint32_t block) {
  return philox4x32({{block, source.sample, source.step, source.rest}}, source.key0, source.key1);
}

DELTAFAST_HD float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

DELTAFAST_HD uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

DELTAFAST_HD float square_root(float v) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(v);
#elif defined(_MSC_VER)
  return std::sqrt(v);
#else
  return __builtin_sqrtf(v);
#endif
}

// ln(k / 2^24) for k in [1, 2^24]: exponent and a polynomial of the mantissa in [sqrt(1/2),
// sqrt(2)), exact to about one unit in the last place.
DELTAFAST_HD float log_of_fraction(uint32_t k) {
  const uint32_t bits = bits_of_float(static_cast<float>(static_cast<int32_t>(k)));
  const int32_t exponent = static_cast<int32_t>(bits - 0x3F3504F3u) >> 23;
  const float t = float_of_bits(bits - (static_cast<uint32_t>(exponent) << 23)) - 1.0f;
  float p = 0.0697161183f;
  p = p * t - 0.114797339f;
  p = p * t + 0.116854198f;
  p = p * t - 0.124256872f;
  p = p * t + 0.142490581f;
  p = p * t - 0.166678026f;
  p = p * t + 0.200007156f;
  p = p * t - 0.24999997f;
  p = p * t + 0.333333313f;
  const float e = static_cast<float>(exponent - 24);
  const float tail = t * t * (t * p - 0.5f) - e * 0.000212194442f;
  return (t + tail) + e * 0.693359375f;
}

struct SinCos {
  float sin;
  float cos;
};

// sin and cos of k / 2^24 turns, for k in [0, 2^24): the nearest quarter turn, and polynomials of
// what is left, at most an eighth.
DELTAFAST_HD SinCos sincos_of_turns(uint32_t k) {
  const uint32_t quarter = (k + 0x200000u) >> 22;
  const float x = static_cast<float>(static_cast<int32_t>(k - (quarter << 22))) * 0x1p-24f;
  const float z = x * x;
  float s = -75.4016113f;
  s = s * z + 81.5925446f;
  s = s * z - 41.3416634f;
  s = s * z + 6.28318548f;
  s = s * x;
  float c = 59.4241066f;
  c = c * z - 85.448822f;
  c = c * z + 64.9393692f;
  c = c * z - 19.7392082f;
  c = c * z + 1.0f;
  // Odd quarters exchange sin and cos, the other half of the circle flips signs: by bits, not by
  // branches, for the vectoriser's sake.
  const uint32_t sine = bits_of_float(s), cosine = bits_of_float(c);
  const uint32_t exchanged = (sine ^ cosine) & (0u - (quarter & 1u));
  return {float_of_bits((sine ^ exchanged) ^ ((quarter & 2u) << 30)),
          float_of_bits((cosine ^ exchanged) ^ (((quarter + 1u) & 2u) << 30))};
}

struct NormalPair {
  float at[2];
};

// Two normal numbers from two words by Box and Muller; the upper 24 bits of each word count.
DELTAFAST_HD NormalPair normals_of(uint32_t word0, uint32_t word1) {
  const float radius = square_root(-2.0f * log_of_fraction((word0 >> 8) + 1u));
  const SinCos angle = sincos_of_turns(word1 >> 8);
  return {{radius * angle.cos, radius * angle.sin}};
}

}  // namespace deltafast
