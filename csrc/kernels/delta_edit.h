// The edit w + D(w, alpha code) - D(w, 0) of many latents in one pass over them. Free of torch.
#pragma once

#include <cstdint>

#include "kernels/shared/delta_layout.h"
#include "kernels/target.h"

namespace deltafast {

// D's first layer reads the code through `direction`, code W_code: alpha scales it, the second one
// where alpha is negative (with |alpha|).
template <typename A>
struct DeltaEditParams {
  DeltaSizes sizes{};  // of D; `dim` is not used
  int64_t samples = 0;
  int64_t num_ws = 0;
  const void* ws = nullptr;          // [samples, num_ws, inputs]
  void* y = nullptr;                 // like ws
  const A* alpha = nullptr;          // [samples]
  const A* direction = nullptr;      // [samples or 1, 2, slots, width]
  int64_t direction_stride = 0;      // elements from one sample's to the next: 0, or 2 slots width
  const int64_t* index = nullptr;    // [slots]: which W+ slot each is; outside 0 .. num_ws: skipped
  const A* mean = nullptr;           // [slots, inputs]
  const A* scale = nullptr;          // []
  const A* latent_weight = nullptr;  // [slots, inputs, width]
  const A* latent_bias = nullptr;    // [slots, width]
  const A* hidden_weight = nullptr;  // [layers - 1, slots, width, width]
  const A* hidden_bias = nullptr;    // [layers - 1, slots, width]
  const A* output_weight = nullptr;  // [slots, width, inputs]
  const A* output_bias = nullptr;    // [slots, inputs], or null: D(w, 0) is subtracted
};

namespace cpu {
constexpr int64_t kEditRows = 32;  // latents that one unit of work owns
template <typename A>
void delta_edit(const DeltaEditParams<A>& params, ParallelFor parallel_for);
}  // namespace cpu

namespace cuda {
int delta_edit(const DeltaEditParams<float>& params, const CudaTarget& target);
// Whether the hidden layers fit the shared memory of a block.
bool delta_edit_fits(const DeltaEditParams<float>& params, const CudaTarget& target);
}  // namespace cuda

}  // namespace deltafast
