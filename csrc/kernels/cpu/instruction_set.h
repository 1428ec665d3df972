// What every CPU kernel file begins with. It is compiled once per instruction set, into the
// namespace that DELTAFAST_ISA names, and includes the headers of its own op alone; kernel_list.h
// tells the rest of the program what it defines.
#pragma once

#include <cstdint>

#ifndef DELTAFAST_ISA
#error "DELTAFAST_ISA names the instruction set that this copy is compiled for"
#endif

// Compiles a kernel's template for the two types that the table of kernels asks for.
#define DELTAFAST_FLOAT_AND_DOUBLE(name, Params)                     \
  template void name<float>(const Params<float>&, int64_t, int64_t); \
  template void name<double>(const Params<double>&, int64_t, int64_t);
