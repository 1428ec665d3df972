// CPU kernels of Philox; compiled once per instruction set (see dispatch.h).

#include "kernels/shared/philox.h"

#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/noise.h"
#include "kernels/philox.h"

namespace deltafast::cpu::DELTAFAST_ISA {

// A unit is one counter.
void philox4x32_words(const PhiloxParams& p, int64_t begin, int64_t end) {
  const auto key0 = static_cast<uint32_t>(p.keys[0]), key1 = static_cast<uint32_t>(p.keys[1]);
  for (int64_t i = begin; i < end; ++i) {
    Philox counter;
    for (int w = 0; w < 4; ++w) counter.at[w] = static_cast<uint32_t>(p.counters[4 * i + w]);
    const Philox words = philox4x32(counter, key0, key1);
    for (int w = 0; w < 4; ++w) p.words[4 * i + w] = words.at[w];
  }
}

// A unit is one sample.
void philox_normal(const NormalParams& p, int64_t begin, int64_t end) {
  for (int64_t sample = begin; sample < end; ++sample) {
    const NoiseSource source =
        noise_source(*p.key.seed, *p.key.step, *p.key.first_sample + sample, p.stream);
    fill_normals(source, 0, p.elements, p.y + sample * p.elements);
  }
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
