// The extension module `deltafast._C`: the schemas of all ops, registered with torch's stable ABI,
// and what this build is made of.

#include <pybind11/pybind11.h>
#include <torch/csrc/stable/library.h>
#include <torch/headeronly/version.h>

#include <string>

#include "kernels/cpu/dispatch.h"
#include "kernels/shared/delta_layout.h"
#if defined(DELTAFAST_CUDA)
#include "ops/device.h"
#endif

#define DELTAFAST_STRING_(x) #x
#define DELTAFAST_STRING(x) DELTAFAST_STRING_(x)

// All ops of torch.ops.deltafast. Each is implemented in ops/, under its own name or that of the op
// whose gradient it makes.
STABLE_TORCH_LIBRARY(deltafast, library) {
  library.def(
      "activated_depthwise(Tensor u, Tensor depthwise, Tensor? noise, Tensor? bias, Tensor? "
      "style, bool wavelet, float negative_slope, float gain) -> Tensor");
  library.def(
      "activated_depthwise_backward(Tensor grad, Tensor u, Tensor depthwise, Tensor? noise, "
      "Tensor? bias, Tensor? style, bool wavelet, float negative_slope, float gain) -> (Tensor, "
      "Tensor)");
  library.def(
      "delta_edit(Tensor ws, Tensor alpha, Tensor direction, Tensor index, Tensor mean, Tensor "
      "scale, Tensor latent_weight, Tensor latent_bias, Tensor hidden_weight, Tensor hidden_bias, "
      "Tensor output_weight, Tensor? output_bias) -> Tensor");
  library.def(
      "delta_flow(Tensor start, Tensor alpha, Tensor direction, Tensor mixing, Tensor bias, int "
      "steps) -> Tensor");
  library.def(
      "delta_flow_backward(Tensor grad, Tensor start, Tensor alpha, Tensor direction, Tensor "
      "mixing, Tensor transposed, Tensor bias, int steps) -> (Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "delta_flow_edit(Tensor ws, Tensor alpha, Tensor direction, Tensor index, Tensor "
      "latent_weight, Tensor latent_bias, Tensor mixing, Tensor bias, Tensor output_weight, int "
      "steps) -> Tensor");
  library.def(
      "delta_loss(Tensor x, Tensor first, Tensor second, Tensor weights, Tensor seed, Tensor "
      "step, Tensor first_sample, int width, int layers, int dim, float noise_encoder, float "
      "noise_decoder, float lambda_a, float lambda_b) -> (Tensor, Tensor)");
  library.def(
      "epilogue_to_rgb(Tensor x, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? "
      "bias, Tensor? next_style, float negative_slope, float gain, float? clamp, Tensor weight, "
      "Tensor? rgb_bias, float? rgb_clamp, Tensor? skip, Tensor? f, float filter_gain, bool keep) "
      "-> (Tensor, Tensor)");
  library.def(
      "filtered_epilogue(Tensor x, Tensor f, SymInt pad_x0, SymInt pad_x1, SymInt pad_y0, SymInt "
      "pad_y1, float filter_gain, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? "
      "bias, Tensor? next_style, float negative_slope, float gain, float? clamp) -> Tensor");
  library.def("implicit_conv(Tensor x, Tensor weight, int form, bool wgmma) -> Tensor");
  library.def(
      "implicit_conv_activated(Tensor x, Tensor weight, int form, bool wgmma, Tensor? f, float "
      "filter_gain, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? bias, Tensor? "
      "next_style, float negative_slope, float gain, float? clamp) -> Tensor");
  library.def(
      "implicit_conv_to_rgb(Tensor x, Tensor weight, bool wgmma, Tensor? demod, Tensor? noise, "
      "Tensor? noise_strength, Tensor? bias, Tensor? next_style, float negative_slope, float gain, "
      "float? clamp, Tensor rgb_weight, Tensor? rgb_bias, float? rgb_clamp, Tensor? skip, Tensor? "
      "f, float filter_gain, bool keep) -> (Tensor, Tensor)");
  library.def("invariant_linear(Tensor x, Tensor weight, bool transposed) -> Tensor");
  library.def(
      "modulated_conv3x3(Tensor x, Tensor packed, SymInt outputs, bool up, bool activates, "
      "Tensor? style, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? bias, Tensor? "
      "next_style, float negative_slope, float gain, float? clamp) -> Tensor");
  library.def("pack_conv3x3(Tensor weight, bool up) -> Tensor");
  library.def(
      "modulated_epilogue(Tensor x, Tensor? demod, Tensor? noise, Tensor? noise_strength, Tensor? "
      "bias, Tensor? next_style, float negative_slope, float gain, float? clamp) -> Tensor");
  library.def(
      "modulated_epilogue_backward(Tensor grad, Tensor x, Tensor? demod, Tensor? noise, Tensor? "
      "noise_strength, Tensor? bias, Tensor? next_style, float negative_slope, float gain, float? "
      "clamp, bool noise_needs_grad) -> (Tensor, Tensor, Tensor)");
  library.def("philox4x32(Tensor counters, Tensor keys) -> Tensor");
  library.def(
      "philox_normal(Tensor seed, Tensor step, Tensor first_sample, SymInt samples, SymInt "
      "elements, int stream) -> Tensor");
  library.def(
      "refresh_conv3x3(Tensor weight, Tensor(a!) known, Tensor(b!) packed, Tensor(c!) squares, "
      "bool up) -> ()");
  library.def(
      "separable_conv(Tensor x, Tensor depthwise, Tensor pointwise, Tensor? noise, Tensor? bias, "
      "Tensor? style, bool wavelet, float negative_slope, float gain) -> Tensor");
  library.def(
      "separable_conv_backward(Tensor grad, Tensor x, Tensor y, Tensor depthwise, Tensor "
      "pointwise, Tensor? style, bool wavelet, float negative_slope, float gain) -> (Tensor, "
      "Tensor)");
  library.def(
      "separable_conv_backward_weights(Tensor grad, Tensor x, Tensor y, Tensor depthwise, Tensor "
      "pointwise, Tensor? style, bool wavelet, float negative_slope, float gain) -> (Tensor, "
      "Tensor, Tensor, Tensor)");
  library.def("subband_image(Tensor x, Tensor? bias) -> Tensor");
  library.def("subband_image_backward(Tensor grad, Tensor like) -> Tensor");
  library.def(
      "to_rgb(Tensor x, Tensor weight, Tensor? bias, float? clamp, Tensor? skip, Tensor? f, float "
      "filter_gain) -> Tensor");
  library.def(
      "upfirdn2d(Tensor x, Tensor f, int up, int down, SymInt pad_x0, SymInt pad_x1, SymInt "
      "pad_y0, SymInt pad_y1, bool flip_filter, float gain) -> Tensor");
  library.def(
      "wavelet_block(Tensor x, Tensor depthwise0, Tensor pointwise0, Tensor? noise0, Tensor? "
      "bias0, Tensor? style0, Tensor depthwise1, Tensor pointwise1, Tensor? noise1, Tensor? "
      "bias1, Tensor? style1, Tensor? image_weight, Tensor? image_bias, Tensor? image_style, "
      "float negative_slope, float gain) -> Tensor");
  library.def(
      "wavelet_block_stored(Tensor x, Tensor depthwise0, Tensor pointwise0, Tensor? noise0, "
      "Tensor? bias0, Tensor? style0, Tensor depthwise1, Tensor pointwise1, Tensor? noise1, "
      "Tensor? bias1, Tensor? style1, Tensor? image_weight, Tensor? image_bias, Tensor? "
      "image_style, float negative_slope, float gain) -> (Tensor, Tensor, Tensor)");
  library.def(
      "wavelet_block_backward(Tensor grad, Tensor x, Tensor first, Tensor second, Tensor "
      "depthwise0, Tensor pointwise0, Tensor? style0, Tensor depthwise1, Tensor pointwise1, "
      "Tensor? style1, Tensor? image_weight, Tensor? image_style, float negative_slope, float "
      "gain) -> (Tensor, Tensor, Tensor, Tensor)");
  library.def("wavelet_image(Tensor x, Tensor weight, Tensor? bias, Tensor? style) -> Tensor");
  library.def(
      "wavelet_image_backward(Tensor grad, Tensor x, Tensor weight, Tensor? style) -> (Tensor, "
      "Tensor)");
}

namespace {

pybind11::dict build_info() {
  pybind11::dict info;
  info["built_against_torch"] = DELTAFAST_STRING(TORCH_VERSION_MAJOR) "." DELTAFAST_STRING(
      TORCH_VERSION_MINOR) "." DELTAFAST_STRING(TORCH_VERSION_PATCH);
  info["compiler"] = DELTAFAST_COMPILER;
#if defined(DELTAFAST_CUDA)
  info["cuda_toolkit"] = DELTAFAST_CUDA_TOOLKIT;
  info["cuda_architectures"] = DELTAFAST_CUDA_ARCHITECTURES;
#else
  info["cuda_toolkit"] = pybind11::none();
  info["cuda_architectures"] = "";
#endif
  pybind11::list sets;
  for (const char* const* name = deltafast::cpu::runnable_instruction_sets(); *name; ++name)
    sets.append(*name);
  info["cpu_instruction_sets"] = sets;
  info["cpu_instruction_set"] = deltafast::cpu::instruction_set();
  return info;
}

// Name and shape of every weight of E and D, in the order in which the flat tensor holds them.
pybind11::list delta_weights(int64_t slots, int64_t inputs, int64_t width, int64_t layers,
                             int64_t dim) {
  const deltafast::DeltaSizes s{slots, inputs, width, layers, dim};
  pybind11::list weights;
  const auto add = [&](const std::string& name, int64_t rows, int64_t columns) {
    weights.append(pybind11::make_tuple(name, pybind11::make_tuple(s.slots, rows, columns)));
  };
#define DELTAFAST_ONE(field, name, rows, columns) add(name, rows, columns);
#define DELTAFAST_HIDDEN(field, network)                                    \
  for (int64_t k = 0; k + 1 < s.layers; ++k) {                              \
    const std::string layer = network ".hidden." + std::to_string(k) + "."; \
    add(layer + "weight", s.width, s.width);                                \
    add(layer + "bias", 1, s.width);                                        \
  }
  DELTAFAST_DELTA_WEIGHTS(DELTAFAST_ONE, DELTAFAST_HIDDEN)
#undef DELTAFAST_ONE
#undef DELTAFAST_HIDDEN
  return weights;
}

bool cuda_stream_is_reachable() {
#if defined(DELTAFAST_CUDA)
  return deltafast::ops::stream_lookup_works();
#else
  return false;
#endif
}

void use_instruction_set(const std::string& name) {
  if (!deltafast::cpu::use_instruction_set(name.c_str())) {
    throw pybind11::value_error("instruction set '" + name +
                                "' is not built in or does not run on this processor");
  }
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "deltafast's compiled kernels; importing it registers torch.ops.deltafast";
  module.def("build_info", &build_info, "What this build is made of, as a dict.");
  module.def("cuda_stream_is_reachable", &cuda_stream_is_reachable,
             "Whether torch's current CUDA stream can be looked up in this process; needs no GPU.");
  module.def("delta_weights", &delta_weights,
             "Names and shapes of E's and D's weights, in the order of the flat tensor.");
  module.def("use_instruction_set", &use_instruction_set,
             "Choose the CPU kernels by name (for tests).");
}
