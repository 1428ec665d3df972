// The table of one copy of the CPU kernels; compiled once per instruction set (see dispatch.h).

#include "kernels/cpu/instruction_set.h"

namespace deltafast::cpu::DELTAFAST_ISA {

KernelTable kernel_table() {
  return {epilogue<float>,           epilogue<double>,           epilogue_backward<float>,
          epilogue_backward<double>, epilogue_grad_noise<float>, epilogue_grad_noise<double>,
          upfirdn2d<float>,          upfirdn2d<double>};
}

}  // namespace deltafast::cpu::DELTAFAST_ISA
