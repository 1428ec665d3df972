// How the kernel of wgmma_conv.cuh is launched: boxes and tiles of a layer.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90/tensor_map.cuh"
#include "kernels/cuda/sm90/wgmma_conv.cuh"

namespace deltafast::cuda {

// An image [N, C, H, W] in NHWC, or each second row and column of it from (down, right) on.
inline cudaError_t describe_image(CUtensorMap& map, Element element, const void* data,
                                  int64_t batch, int64_t channels, int height, int width, int step,
                                  int down, int right, int box_rows) {
  const int64_t pixel = 2 * channels, row = pixel * width, image = row * height;  // bytes
  const auto after = [step](int size, int first) {
    return static_cast<cuuint64_t>((size - first + step - 1) / step);
  };
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(channels), after(width, right),
                              after(height, down), static_cast<cuuint64_t>(batch)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(step * pixel),
                                static_cast<cuuint64_t>(step * row),
                                static_cast<cuuint64_t>(image)};
  const cuuint32_t box[] = {kWgDepth, kConvTileColumns, static_cast<cuuint32_t>(box_rows), 1};
  const char* first = static_cast<const char*>(data) + down * row + right * pixel;
  return describe<4>(map, element, first, sizes, strides, box);
}

template <typename Tile>
cudaError_t describe_all(const ImplicitConvParams& p, Element element, WgMaps& maps) {
  const EpilogueParams<float>& e = p.epilogue;
  const int input_step = p.form == ConvForm::kDown ? 2 : 1;
  const int output_step = p.form == ConvForm::kUp ? 2 : 1;
  cudaError_t error = cudaSuccess;
  const auto note = [&error](cudaError_t found) {
    if (error == cudaSuccess) error = found;
  };
  for (int view = 0; view < input_step * input_step; ++view) {
    note(describe_image(maps.input[view], element, p.x, e.batch, p.inputs, p.in_h, p.in_w,
                        input_step, view / 2, view % 2, Tile::kInRows));
  }
  if (e.y) {
    for (int view = 0; view < output_step * output_step; ++view) {
      note(describe_image(maps.output[view], element, e.y, e.batch, e.channels, p.out_h, p.out_w,
                          output_step, view / 2, view % 2, kBlockRows));
    }
  }
  const auto taps = static_cast<cuuint64_t>(conv_taps(p.form));
  const auto inputs = static_cast<cuuint64_t>(p.inputs);
  const cuuint64_t sizes[] = {inputs, taps, static_cast<cuuint64_t>(e.channels)};
  const cuuint64_t strides[] = {2 * inputs, 2 * inputs * taps};
  const cuuint32_t box[] = {kWgDepth, 1, Tile::kOutputs};
  note(describe<3>(maps.weights, element, p.weight, sizes, strides, box));
  return error;
}

template <typename T, typename Tile, bool kActivates>
cudaError_t launch_wgmma(const ImplicitConvParams& p, const CudaTarget& target) {
  constexpr int64_t kMaxTiles = int64_t{1} << 24;
  const auto parts = [](int64_t size, int64_t step) { return (size + step - 1) / step; };
  const bool up = p.form == ConvForm::kUp;  // positions are those of the input, and one more
  const int64_t phases = up ? 4 : 1;
  const int64_t tiles_h = parts(up ? p.in_h + 1 : p.out_h, Tile::kRows);
  const int64_t tiles_w = parts(up ? p.in_w + 1 : p.out_w, kConvTileColumns);
  const int64_t slices = parts(p.epilogue.channels, Tile::kOutputs);
  const int64_t chunks = parts(p.inputs, kWgDepth);
  const int64_t tiles = phases * p.epilogue.batch * tiles_h * tiles_w * slices;
  if (tiles > kMaxTiles || chunks > kMaxTiles) return cudaErrorInvalidValue;
  const WgWork work{static_cast<int>(chunks), static_cast<int>(slices), static_cast<int>(tiles_h),
                    static_cast<int>(tiles_w), static_cast<int>(tiles)};
  WgMaps maps{};
  cudaError_t error = describe_all<Tile>(p, target.element, maps);
  int device = 0, processors = 0;
  if (error == cudaSuccess) error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(wgmma_conv_kernel<T, Tile, kActivates>,
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  }
  if (error != cudaSuccess) return error;
  const unsigned blocks = blocks_for(blocks_for(tiles), processors);  // one for each SM
  wgmma_conv_kernel<T, Tile, kActivates>
      <<<blocks, kWgThreads, Tile::kSharedBytes, static_cast<cudaStream_t>(target.stream)>>>(
          maps, p, work);
  return cudaGetLastError();
}

}  // namespace deltafast::cuda
