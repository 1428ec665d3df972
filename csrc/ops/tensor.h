// What the torch-facing files share: reading tensors through the stable ABI, allocating results,
// calling threads.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <vector>

#include "kernels/target.h"

namespace deltafast::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

enum class Layout { kNchw, kNhwc };

// A dense image tensor and how it lies in memory; `tensor` is a contiguous copy where the input was
// neither contiguous nor channels-last. deltafast/ops/_arguments.py follows the same rule for fake
// tensors.
struct Image {
  Tensor tensor;
  Layout layout;
};

Image dense_image(const Tensor& x, const char* op);

// A contiguous copy of `x` in the layout of `like`, or `x` itself where it already has it.
Tensor to_layout(const Tensor& x, Layout layout);

// An uninitialised [n, c, h, w] like `x` in type and device.
Tensor new_image(const Tensor& x, Layout layout, int64_t n, int64_t c, int64_t h, int64_t w);

// An uninitialised contiguous tensor on the device of `x`.
Tensor new_dense(const Tensor& x, std::vector<int64_t> sizes, ScalarType dtype);

// Checks dtype, device and sizes of an argument that the Python side has prepared, and returns it
// contiguous.
Tensor dense_argument(const Tensor& t, const Tensor& x, ScalarType dtype,
                      std::initializer_list<int64_t> sizes, const char* op, const char* name);

// torch's own thread pool, so that torch.set_num_threads holds here too.
void parallel_for(int64_t count, int64_t grain, ParallelBody body, void* context);

}  // namespace deltafast::ops
