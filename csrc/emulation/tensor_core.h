// The instructions of a whole warp that feed and run tensor cores, with the layouts of fragments as
// the PTX manual gives them ("Warp-level matrix load instruction", "Matrix fragments for
// mma.m16n8k16"). `line` is where an instruction is called; all lanes must be there.
#pragma once

namespace deltafast::emulation {

// Four 8 x 8 matrices of 16-bit elements. Lane 8 m + r gives the shared address of row r of matrix
// m; lane 4 r + c receives columns 2 c and 2 c + 1 of row r of each.
void load_matrices(unsigned* result, unsigned address, int line);

// sums [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and q = lane % 4, element i of a lane is
//   sums: row g (i < 2) or g + 8, column 2 q + i % 2
//   a: row g (i % 4 < 2) or g + 8, column 2 q + i % 2, and 8 further on where i > 3
//   b: row 2 q + i % 2, and 8 further down where i > 1, column g
void multiply(float* sums, const float* a, const float* b, int line);

}  // namespace deltafast::emulation
