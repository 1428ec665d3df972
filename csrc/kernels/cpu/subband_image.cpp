// subband_image on the CPU: the CUDA threads' work in a loop. The CPU's fast way to an image is
// wavelet_image, which never stores the subbands.

#include "kernels/shared/subband_image.h"

namespace deltafast::cpu {
namespace {

constexpr int64_t kGrain = 4096;

template <typename A>
struct PlainElement {
  static A get(const void* base, int64_t index) { return static_cast<const A*>(base)[index]; }
  static void set(void* base, int64_t index, A value) { static_cast<A*>(base)[index] = value; }
};

template <bool Backward, typename A>
void run(const SubbandImageParams<A>& p, ParallelFor parallel_for) {
  auto params = p;
  parallel_for(
      p.batch * p.height * p.width * p.colours, kGrain,
      [](int64_t begin, int64_t end, void* context) {
        const auto& p = *static_cast<const SubbandImageParams<A>*>(context);
        for (int64_t unit = begin; unit < end; ++unit) {
          if (Backward) {
            subbands_backward<PlainElement<A>>(p, unit);
          } else {
            subbands_forward<PlainElement<A>>(p, unit);
          }
        }
      },
      &params);
}

}  // namespace

template <typename A>
void subband_image(const SubbandImageParams<A>& p, ParallelFor parallel_for) {
  run<false>(p, parallel_for);
}

template <typename A>
void subband_image_backward(const SubbandImageParams<A>& p, ParallelFor parallel_for) {
  run<true>(p, parallel_for);
}

template void subband_image<float>(const SubbandImageParams<float>&, ParallelFor);
template void subband_image<double>(const SubbandImageParams<double>&, ParallelFor);
template void subband_image_backward<float>(const SubbandImageParams<float>&, ParallelFor);
template void subband_image_backward<double>(const SubbandImageParams<double>&, ParallelFor);

}  // namespace deltafast::cpu
