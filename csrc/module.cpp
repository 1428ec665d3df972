// The extension module `deltafast._C`: the ops, registered with torch's stable ABI, and what this
// build is made of.

#include <pybind11/pybind11.h>
#include <torch/csrc/stable/library.h>
#include <torch/headeronly/version.h>

#include <string>

#include "kernels/cpu/dispatch.h"
#if defined(DELTAFAST_CUDA)
#include "ops/device.h"
#endif

#define DELTAFAST_STRING_(x) #x
#define DELTAFAST_STRING(x) DELTAFAST_STRING_(x)

namespace deltafast::ops {
void define_activated_depthwise(torch::stable::detail::StableLibrary& library);
void implement_activated_depthwise(torch::stable::detail::StableLibrary& library);
void define_delta_edit(torch::stable::detail::StableLibrary& library);
void implement_delta_edit(torch::stable::detail::StableLibrary& library);
void define_delta_loss(torch::stable::detail::StableLibrary& library);
void implement_delta_loss(torch::stable::detail::StableLibrary& library);
void define_epilogue_to_rgb(torch::stable::detail::StableLibrary& library);
void implement_epilogue_to_rgb(torch::stable::detail::StableLibrary& library);
void define_filtered_epilogue(torch::stable::detail::StableLibrary& library);
void implement_filtered_epilogue(torch::stable::detail::StableLibrary& library);
void define_modulated_conv3x3(torch::stable::detail::StableLibrary& library);
void implement_modulated_conv3x3(torch::stable::detail::StableLibrary& library);
void define_modulated_epilogue(torch::stable::detail::StableLibrary& library);
void implement_modulated_epilogue(torch::stable::detail::StableLibrary& library);
void define_philox(torch::stable::detail::StableLibrary& library);
void implement_philox(torch::stable::detail::StableLibrary& library);
void define_separable_conv(torch::stable::detail::StableLibrary& library);
void implement_separable_conv(torch::stable::detail::StableLibrary& library);
void define_subband_image(torch::stable::detail::StableLibrary& library);
void implement_subband_image(torch::stable::detail::StableLibrary& library);
void define_to_rgb(torch::stable::detail::StableLibrary& library);
void implement_to_rgb(torch::stable::detail::StableLibrary& library);
void define_upfirdn2d(torch::stable::detail::StableLibrary& library);
void implement_upfirdn2d(torch::stable::detail::StableLibrary& library);
void define_wavelet_block(torch::stable::detail::StableLibrary& library);
void implement_wavelet_block(torch::stable::detail::StableLibrary& library);
void define_wavelet_image(torch::stable::detail::StableLibrary& library);
void implement_wavelet_image(torch::stable::detail::StableLibrary& library);
}  // namespace deltafast::ops

STABLE_TORCH_LIBRARY(deltafast, library) {
  deltafast::ops::define_activated_depthwise(library);
  deltafast::ops::define_delta_edit(library);
  deltafast::ops::define_delta_loss(library);
  deltafast::ops::define_epilogue_to_rgb(library);
  deltafast::ops::define_filtered_epilogue(library);
  deltafast::ops::define_modulated_conv3x3(library);
  deltafast::ops::define_modulated_epilogue(library);
  deltafast::ops::define_philox(library);
  deltafast::ops::define_separable_conv(library);
  deltafast::ops::define_subband_image(library);
  deltafast::ops::define_to_rgb(library);
  deltafast::ops::define_upfirdn2d(library);
  deltafast::ops::define_wavelet_block(library);
  deltafast::ops::define_wavelet_image(library);
}

STABLE_TORCH_LIBRARY_IMPL(deltafast, CPU, library) {
  deltafast::ops::implement_activated_depthwise(library);
  deltafast::ops::implement_delta_edit(library);
  deltafast::ops::implement_delta_loss(library);
  deltafast::ops::implement_epilogue_to_rgb(library);
  deltafast::ops::implement_filtered_epilogue(library);
  deltafast::ops::implement_modulated_conv3x3(library);
  deltafast::ops::implement_modulated_epilogue(library);
  deltafast::ops::implement_philox(library);
  deltafast::ops::implement_separable_conv(library);
  deltafast::ops::implement_subband_image(library);
  deltafast::ops::implement_to_rgb(library);
  deltafast::ops::implement_upfirdn2d(library);
  deltafast::ops::implement_wavelet_block(library);
  deltafast::ops::implement_wavelet_image(library);
}

#if defined(DELTAFAST_CUDA)
STABLE_TORCH_LIBRARY_IMPL(deltafast, CUDA, library) {
  deltafast::ops::implement_activated_depthwise(library);
  deltafast::ops::implement_delta_edit(library);
  deltafast::ops::implement_delta_loss(library);
  deltafast::ops::implement_epilogue_to_rgb(library);
  deltafast::ops::implement_filtered_epilogue(library);
  deltafast::ops::implement_modulated_epilogue(library);
  deltafast::ops::implement_philox(library);
  deltafast::ops::implement_subband_image(library);
  deltafast::ops::implement_to_rgb(library);
  deltafast::ops::implement_upfirdn2d(library);
}
#endif

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
  module.def("use_instruction_set", &use_instruction_set,
             "Choose the CPU kernels by name (for tests).");
}
