// Where the sums over a band of rows go, so that they are the same whichever thread makes them.
#pragma once

#include "kernels/cpu/separable_layer.h"

namespace deltafast::cpu::DELTAFAST_ISA {

class BandSums {
 public:
  // Rows [first_row, last_row) of `sample`, whole bands, are this thread's to count; their sums are
  // set to 0. `partials` is [samples][bands][width], or null.
  void begin(double* partials, int64_t sample, int64_t height, int64_t first_row, int64_t last_row,
             int64_t width) {
    rows_ = separable_conv_band_rows(height);
    first_row_ = first_row;
    last_row_ = last_row;
    width_ = width;
    sums_ = partials ? partials + sample * separable_conv_bands(height) * width : nullptr;
    if (!sums_) return;
    double* end = sums_ + (last_row + rows_ - 1) / rows_ * width;
    for (double* sum = sums_ + first_row / rows_ * width; sum < end; ++sum) *sum = 0;
  }

  // The sums of the band that row y is in, or null where they are another thread's to make, or
  // nobody's.
  double* of_row(int64_t y) const {
    if (!sums_ || y < first_row_ || y >= last_row_) return nullptr;
    return sums_ + y / rows_ * width_;
  }

 private:
  double* sums_ = nullptr;
  int64_t rows_ = 1, first_row_ = 0, last_row_ = 0, width_ = 0;
};

}  // namespace deltafast::cpu::DELTAFAST_ISA
