// torch's side of subband_image: schema, arguments, dispatch. The kernels are in kernels/.

#include "kernels/subband_image.h"

#include "ops/device.h"
#include "ops/tensor.h"

namespace deltafast::ops {
namespace {

constexpr const char* kName = "subband_image";

using OptionalTensor = std::optional<Tensor>;

template <typename A>
constexpr ScalarType kTypeOf = sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;

// Calls `run` with a value of the type in which images of subbands `x` are computed.
template <typename Run>
auto with_accumulation_type(const Tensor& x, Run run) {
  return x.scalar_type() == ScalarType::Double ? run(double{}) : run(float{});
}

template <typename A>
SubbandImageParams<A> shape_of(int64_t n, int64_t subbands, int64_t h, int64_t w) {
  STD_TORCH_CHECK(subbands % 4 == 0, kName, ": x must have 4 K channels");
  SubbandImageParams<A> params;
  params.batch = n;
  params.colours = subbands / 4;
  params.height = h;
  params.width = w;
  return params;
}

template <typename A>
int on_cuda(const SubbandImageParams<A>& params, bool backward, const CudaTarget& target) {
#if defined(DELTAFAST_CUDA)
  if constexpr (sizeof(A) == sizeof(float)) {
    return backward ? cuda::subband_image_backward(params, target)
                    : cuda::subband_image(params, target);
  } else {
    STD_TORCH_CHECK(false, kName, ": there is no float64 kernel on CUDA");
  }
#else
  (void)params, (void)backward, (void)target;
  return 0;
#endif
}

Tensor forward(const Tensor& x, const OptionalTensor& bias) {
  STD_TORCH_CHECK(x.dim() == 4, kName, ": x must be [N, 4 K, H, W]");
  return with_accumulation_type(x, [&](auto zero) {
    using A = decltype(zero);
    auto params = shape_of<A>(x.size(0), x.size(1), x.size(2), x.size(3));
    Tensor image = new_dense(x, {params.batch, params.colours, 2 * params.height, 2 * params.width},
                             kTypeOf<A>);
    if (image.numel() == 0) return image;
    const Tensor dense = to_layout(x, Layout::kNhwc);
    std::vector<Tensor> kept;
    if (bias.has_value()) {
      kept.push_back(dense_argument(*bias, x, kTypeOf<A>, {x.size(1)}, kName, "bias"));
      params.bias = static_cast<const A*>(kept.back().const_data_ptr());
    }
    params.x = dense.const_data_ptr();
    params.image = static_cast<A*>(image.mutable_data_ptr());
    run_kernel(
        x, kName, [&] { cpu::subband_image(params, parallel_for); },
        [&](const CudaTarget& target) { return on_cuda(params, false, target); });
    return image;
  });
}

// `like` gives the type of x, which the gradient does not tell.
Tensor backward(const Tensor& grad, const Tensor& like) {
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(2) % 2 == 0 && grad.size(3) % 2 == 0, kName,
                  ": the gradient must be [N, K, 2 H, 2 W]");
  return with_accumulation_type(like, [&](auto zero) {
    using A = decltype(zero);
    auto params = shape_of<A>(grad.size(0), 4 * grad.size(1), grad.size(2) / 2, grad.size(3) / 2);
    Tensor grad_x = new_image(like, Layout::kNhwc, params.batch, 4 * params.colours, params.height,
                              params.width);
    if (grad_x.numel() == 0) return grad_x;
    const Tensor dense = dense_argument(
        grad, like, kTypeOf<A>, {params.batch, params.colours, 2 * params.height, 2 * params.width},
        kName, "gradient");
    params.grad = static_cast<const A*>(dense.const_data_ptr());
    params.grad_x = grad_x.mutable_data_ptr();
    run_kernel(
        like, kName, [&] { cpu::subband_image_backward(params, parallel_for); },
        [&](const CudaTarget& target) { return on_cuda(params, true, target); });
    return grad_x;
  });
}

}  // namespace

void define_subband_image(torch::stable::detail::StableLibrary& library) {
  library.def("subband_image(Tensor x, Tensor? bias) -> Tensor");
  library.def("subband_image_backward(Tensor grad, Tensor like) -> Tensor");
}

void implement_subband_image(torch::stable::detail::StableLibrary& library) {
  library.impl("subband_image", TORCH_BOX(&forward));
  library.impl("subband_image_backward", TORCH_BOX(&backward));
}

}  // namespace deltafast::ops
