#include "ops/tensor.h"

#include <string>

namespace deltafast::ops {
namespace {

bool is_channels_last(const Tensor& x) {
  const auto sizes = x.sizes();
  const auto strides = x.strides();
  int64_t expected = 1;
  for (const int64_t d : {1, 3, 2, 0}) {
    if (sizes[d] == 1) continue;
    if (strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

Tensor new_strided(const Tensor& like, const std::vector<int64_t>& sizes,
                   const std::vector<int64_t>& strides, ScalarType dtype) {
  int32_t device_type = 0;
  int32_t device_index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                  strides.data(), code, device_type, device_index,
                                                  &handle));
  return Tensor(handle);
}

}  // namespace

Image dense_image(const Tensor& x, const char* op) {
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [N, C, H, W], got ", x.dim(), " dimensions");
  if (x.is_contiguous()) return {x, Layout::kNchw};
  if (is_channels_last(x)) return {x, Layout::kNhwc};
  return {torch::stable::contiguous(x), Layout::kNchw};
}

Tensor to_layout(const Tensor& x, Layout layout) {
  if (layout == Layout::kNchw) return x.is_contiguous() ? x : torch::stable::contiguous(x);
  if (is_channels_last(x)) return x;
  return torch::stable::contiguous(x, torch::headeronly::MemoryFormat::ChannelsLast);
}

Tensor new_image(const Tensor& x, Layout layout, int64_t n, int64_t c, int64_t h, int64_t w) {
  const auto at_least_one = [](int64_t size) { return size < 1 ? int64_t{1} : size; };
  if (layout == Layout::kNhwc) {
    const int64_t row = at_least_one(c) * at_least_one(w);
    return new_strided(x, {n, c, h, w}, {row * at_least_one(h), 1, row, at_least_one(c)},
                       x.scalar_type());
  }
  return new_dense(x, {n, c, h, w}, x.scalar_type());
}

Tensor new_dense(const Tensor& x, std::vector<int64_t> sizes, ScalarType dtype) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= sizes[d] < 1 ? 1 : sizes[d];
  }
  return new_strided(x, sizes, strides, dtype);
}

Tensor dense_argument(const Tensor& t, const Tensor& x, ScalarType dtype,
                      std::initializer_list<int64_t> sizes, const char* op, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == dtype, op, ": ", name, " has the wrong dtype");
  STD_TORCH_CHECK(t.is_cuda() == x.is_cuda() && t.get_device_index() == x.get_device_index(), op,
                  ": ", name, " is not on the device of x");
  bool same = t.dim() == static_cast<int64_t>(sizes.size());
  int64_t d = 0;
  for (const int64_t size : sizes) {
    if (same) same = t.size(d++) == size;
  }
  STD_TORCH_CHECK(same, op, ": ", name, " has the wrong shape");
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

void parallel_for(int64_t count, int64_t grain, ParallelBody body, void* context) {
  TORCH_ERROR_CODE_CHECK(torch_parallel_for(0, count, grain, body, context));
}

}  // namespace deltafast::ops
