// Runs one CPU kernel of a MobileStyleGAN layer a number of times, without torch, for callgrind and
// perf:
//   cpu_counters KERNEL INSTRUCTION_SET REPEATS CHANNELS OUTPUTS SIZE
// KERNEL is forward, backward, wavelet_forward, wavelet_backward, image_forward or image_backward.
// Prints the seconds of processor time that one run takes.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "kernels/cpu/dispatch.h"

namespace {

using deltafast::ParallelBody;

void serial(int64_t count, int64_t, ParallelBody body, void* context) { body(0, count, context); }

std::vector<float> filled(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 16777216.0f - 0.5f;
  }
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7 || !deltafast::cpu::use_instruction_set(argv[2])) {
    std::fprintf(stderr,
                 "usage: cpu_counters KERNEL INSTRUCTION_SET REPEATS CHANNELS OUTPUTS SIZE\n");
    return 2;
  }
  const char* kernel = argv[1];
  const int repeats = std::atoi(argv[3]);
  const int64_t channels = std::atoi(argv[4]), outputs = std::atoi(argv[5]),
                size = std::atoi(argv[6]);
  const bool wavelet = std::strstr(kernel, "wavelet") != nullptr;
  const bool backward = std::strstr(kernel, "backward") != nullptr;
  const bool image = std::strstr(kernel, "image") != nullptr;
  const int64_t width = wavelet ? 4 * channels : channels, pixels = size * size;

  const std::vector<float> x = filled(pixels * channels), style = filled(width),
                           bias = filled(outputs);
  const std::vector<float> depthwise = filled(9 * channels), pointwise = filled(outputs * channels);
  const std::vector<float> noise = filled(pixels), grad = filled(pixels * outputs);
  std::vector<float> y = filled(pixels * outputs), grad_x(x.size()), grad_style(style.size());
  std::vector<float> packed(deltafast::separable_conv_packed_size(outputs, channels));
  std::vector<double> partials(deltafast::separable_conv_bands(size) * width);

  deltafast::SeparableConvParams<float> conv;
  conv.batch = 1;
  conv.channels = channels;
  conv.outputs = outputs;
  conv.height = conv.width = size;
  conv.wavelet = wavelet;
  conv.slope = 0.2f;
  conv.x = x.data();
  conv.style = style.data();
  conv.depthwise = depthwise.data();
  conv.pointwise = pointwise.data();
  conv.noise = noise.data();
  conv.bias = bias.data();
  conv.y = y.data();
  conv.packed = packed.data();
  conv.grad = grad.data();
  conv.grad_x = grad_x.data();
  conv.grad_style = grad_style.data();
  conv.partials = partials.data();

  deltafast::WaveletImageParams<float> last;
  last.batch = 1;
  last.channels = channels;
  last.colours = outputs / 4;
  last.height = last.width = size;
  last.x = x.data();
  last.style = style.data();
  last.weight = pointwise.data();
  last.bias = bias.data();
  last.image = y.data();
  last.grad = grad.data();
  last.grad_x = grad_x.data();
  last.grad_style = grad_style.data();
  last.partials = partials.data();
  last.packed = packed.data();
  std::vector<float> folded(static_cast<size_t>(outputs * (channels + 1)));
  const auto lend = [&](auto& params) {  // earlier commits had no such member
    if constexpr (requires { params.folded; }) params.folded = folded.data();
  };
  lend(last);

  const std::clock_t begun = std::clock();
  for (int i = 0; i < repeats; ++i) {
    if (image) {
      backward ? deltafast::cpu::wavelet_image_backward(last, serial)
               : deltafast::cpu::wavelet_image(last, serial);
    } else {
      backward ? deltafast::cpu::separable_conv_backward(conv, serial)
               : deltafast::cpu::separable_conv(conv, serial);
    }
  }
  std::printf("%.9f\n", static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC /
                            (repeats > 0 ? repeats : 1));
  return 0;
}
