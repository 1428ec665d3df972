// One colour of one pixel of the subbands, which is 2 x 2 pixels of the image; what a CUDA thread
// does, and one turn of the CPU's loop.
#pragma once

#include <cstdint>

#include "kernels/shared/macros.h"
#include "kernels/subband_image.h"

namespace deltafast {

// The inverse Haar transform without its factor 1/2, and its own transpose: low, vertical,
// horizontal, diagonal <-> top left, top right, bottom left, bottom right.
template <typename A>
DELTAFAST_HD void haar_butterfly(A (&v)[4]) {
  const A top = v[0] + v[1], bottom = v[0] - v[1];
  const A top_detail = v[2] + v[3], bottom_detail = v[2] - v[3];
  v[0] = top + top_detail;
  v[1] = top - top_detail;
  v[2] = bottom + bottom_detail;
  v[3] = bottom - bottom_detail;
}

// Where unit `unit` lies; units are counted through colours, then pixels, then samples.
struct SubbandPlace {
  int64_t colour;
  int64_t subbands;  // index of its first subband in x
  int64_t image;     // index of its top left pixel in the image
};

template <typename A>
DELTAFAST_HD SubbandPlace subband_place(const SubbandImageParams<A>& p, int64_t unit) {
  const int64_t pixel = unit / p.colours;  // of the whole batch
  const int64_t row = pixel / p.width;     // of the whole batch
  SubbandPlace place;
  place.colour = unit % p.colours;
  place.subbands = pixel * 4 * p.colours + place.colour;
  const int64_t plane = row / p.height * p.colours + place.colour;
  place.image = (plane * 2 * p.height + 2 * (row % p.height)) * 2 * p.width + 2 * (pixel % p.width);
  return place;
}

// `E` says how an element of x is stored: E::get(base, index) and E::set(base, index, value).
template <typename E, typename A>
DELTAFAST_HD void subbands_forward(const SubbandImageParams<A>& p, int64_t unit) {
  const SubbandPlace place = subband_place(p, unit);
  A v[4];
  DELTAFAST_UNROLL
  for (int band = 0; band < 4; ++band) {
    v[band] = E::get(p.x, place.subbands + band * p.colours);
    if (p.bias) v[band] += p.bias[band * p.colours + place.colour];
  }
  haar_butterfly(v);
  A* top = p.image + place.image;
  A* bottom = top + 2 * p.width;
  top[0] = v[0];
  top[1] = v[1];
  bottom[0] = v[2];
  bottom[1] = v[3];
}

template <typename E, typename A>
DELTAFAST_HD void subbands_backward(const SubbandImageParams<A>& p, int64_t unit) {
  const SubbandPlace place = subband_place(p, unit);
  const A* top = p.grad + place.image;
  const A* bottom = top + 2 * p.width;
  A v[4] = {top[0], top[1], bottom[0], bottom[1]};
  haar_butterfly(v);
  DELTAFAST_UNROLL
  for (int band = 0; band < 4; ++band) E::set(p.grad_x, place.subbands + band * p.colours, v[band]);
}

}  // namespace deltafast
