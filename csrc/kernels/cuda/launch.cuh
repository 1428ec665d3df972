// How large a grid is made. Kernels whose threads or blocks stride over what the grid does not
// cover take any size.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace deltafast::cuda {

#if defined(DELTAFAST_MAX_BLOCKS)  // the emulation's: so few that every kernel strides
constexpr int64_t kMaxBlocks = DELTAFAST_MAX_BLOCKS, kMaxRows = DELTAFAST_MAX_BLOCKS;
#else
constexpr int64_t kMaxBlocks = int64_t(1) << 20;  // along x
constexpr int64_t kMaxRows = 65535;               // along y and z
#endif

inline unsigned blocks_for(int64_t units, int64_t most = kMaxBlocks) {
  return static_cast<unsigned>(units < most ? units : most);
}

struct Launch {
  dim3 grid;
  dim3 block;
};

// Threads for a problem of `rows` x `columns`: the x axis runs along the columns, which are
// contiguous in memory.
inline Launch launch_shape(int64_t rows, int64_t columns) {
  constexpr int kThreads = 256;
  int width = 1;
  while (width < kThreads && width < columns) width *= 2;
  const int height = kThreads / width;
  return {dim3(blocks_for((columns + width - 1) / width),
               blocks_for((rows + height - 1) / height, kMaxRows)),
          dim3(width, height)};
}

}  // namespace deltafast::cuda
