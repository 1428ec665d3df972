// CPU kernel of upfirdn2d; compiled once per instruction set (see dispatch.h).
//
// A unit is one output row. A separable filter makes two passes over it: the vertical one gathers
// input rows into a row buffer, the horizontal one filters that buffer. A 2-D filter filters each
// input row it touches and adds up. Because [W, inner] is flat in memory, one contiguous loop
// serves NCHW (inner = 1) and NHWC (inner = C): a shift by one pixel is a shift by `inner`
// elements. Up-sampling computes each phase contiguously, then interleaves them; down-sampling
// splits the row buffer into its phases first.

#include "kernels/upfirdn2d.h"

#include <cstring>
#include <new>

#include "kernels/cpu/instruction_set.h"
#include "kernels/shared/fir.h"

namespace deltafast::cpu::DELTAFAST_ISA {
namespace {

template <typename A>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<A*>(::operator new(sizeof(A) * (count < 1 ? 1 : count)))) {}
  ~Scratch() { ::operator delete(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  A* get() const { return data_; }

 private:
  A* data_;
};

// The span of inputs, [first, last], that the outputs of one row see, padding included.
struct Span {
  int64_t first;
  int64_t last;
  int64_t count() const { return last - first + 1; }
};

Span row_span(const Upfirdn2dShape& s) {
  const int64_t first = fir_first_input<int64_t>(0, s.up, s.down, s.pad_x0);
  const int64_t last = floor_div<int64_t>((s.out_w - 1) * s.down + s.taps_w - 1 - s.pad_x0, s.up);
  return {first, last < first ? first : last};
}

// dst[j] (+)= sum over s of taps[s * tap_stride] * src[j + s * shift], for j in [0, count).
template <int Taps, bool Add, typename A>
void fir_fixed(A* __restrict__ dst, const A* __restrict__ src, int64_t shift, const A* taps,
               int64_t tap_stride, int64_t count) {
  A t[Taps];
  for (int s = 0; s < Taps; ++s) t[s] = taps[s * tap_stride];
  for (int64_t j = 0; j < count; ++j) {
    A sum = Add ? dst[j] : A(0);
    for (int s = 0; s < Taps; ++s) sum += t[s] * src[j + s * shift];
    dst[j] = sum;
  }
}

template <bool Add, typename A>
void fir(A* dst, const A* src, int64_t shift, const A* taps, int64_t tap_stride, int64_t tap_count,
         int64_t count) {
  if (tap_count <= 0) {
    if (!Add) std::memset(dst, 0, sizeof(A) * count);
    return;
  }
  const int64_t head = tap_count % 4 == 0 ? 4 : tap_count % 4;
  switch (head) {
    case 1:
      fir_fixed<1, Add>(dst, src, shift, taps, tap_stride, count);
      break;
    case 2:
      fir_fixed<2, Add>(dst, src, shift, taps, tap_stride, count);
      break;
    case 3:
      fir_fixed<3, Add>(dst, src, shift, taps, tap_stride, count);
      break;
    default:
      fir_fixed<4, Add>(dst, src, shift, taps, tap_stride, count);
      break;
  }
  for (int64_t s = head; s < tap_count; s += 4) {
    fir_fixed<4, true>(dst, src + s * shift, shift, taps + s * tap_stride, tap_stride, count);
  }
}

int64_t taps_from(int64_t taps, int64_t first, int64_t step) {
  return first >= taps ? 0 : (taps - first + step - 1) / step;
}

// The generator's own case, up = 2 on NCHW: both phases, then one interleaving store the compiler
// can vectorise.
template <typename A>
void upsample_row_by_two(const Upfirdn2dShape& s, const Span& span, const A* row, const A* taps,
                         A* phases, A* out) {
  const int64_t half = (s.out_w + 1) / 2;  // outputs of phase 0; phase 1 has as many or one fewer
  for (int64_t phase = 0; phase < 2 && phase < s.out_w; ++phase) {
    const int64_t i0 = fir_first_input<int64_t>(phase, 2, 1, s.pad_x0);
    const int64_t t0 = fir_first_tap<int64_t>(phase, 2, 1, s.pad_x0, i0);
    fir<false>(phases + phase * half, row + (i0 - span.first), 1, taps + t0, 2,
               taps_from(s.taps_w, t0, 2), (s.out_w - phase + 1) / 2);
  }
  const A* __restrict__ even = phases;
  const A* __restrict__ odd = phases + half;
  A* __restrict__ to = out;
  for (int64_t m = 0; m < s.out_w / 2; ++m) {
    to[2 * m] = even[m];
    to[2 * m + 1] = odd[m];
  }
  if (s.out_w % 2) to[s.out_w - 1] = even[half - 1];
}

// Filters one row buffer (pixels span.first .. span.last) into one output row.
template <bool Add, typename A>
void filter_row(const Upfirdn2dShape& s, const Span& span, const A* row, const A* taps, A* phases,
                A* out) {
  const int64_t inner = s.inner;
  if (s.up == 1 && s.down == 1) {
    fir<Add>(out, row, inner, taps, 1, s.taps_w, s.out_w * inner);
    return;
  }
  if (s.up == 2 && s.down == 1 && inner == 1 && !Add) {
    upsample_row_by_two(s, span, row, taps, phases, out);
    return;
  }
  if (s.down == 1) {
    for (int64_t phase = 0; phase < s.up && phase < s.out_w; ++phase) {
      const int64_t i0 = fir_first_input<int64_t>(phase, s.up, 1, s.pad_x0);
      const int64_t t0 = fir_first_tap<int64_t>(phase, s.up, 1, s.pad_x0, i0);
      const int64_t count = (s.out_w - phase + s.up - 1) / s.up;
      fir<false>(phases, row + (i0 - span.first) * inner, inner, taps + t0, s.up,
                 taps_from(s.taps_w, t0, s.up), count * inner);
      A* __restrict__ to = out + phase * inner;
      const A* __restrict__ from = phases;
      const int64_t step = s.up * inner;
      if (inner == 1) {
        for (int64_t m = 0; m < count; ++m) to[m * step] = Add ? to[m * step] + from[m] : from[m];
      } else {
        for (int64_t m = 0; m < count; ++m) {
          for (int64_t c = 0; c < inner; ++c) {
            to[m * step + c] = Add ? to[m * step + c] + from[m * inner + c] : from[m * inner + c];
          }
        }
      }
    }
    return;
  }
  if (s.up == 1) {
    if (!Add) std::memset(out, 0, sizeof(A) * s.out_w * inner);
    for (int64_t phase = 0; phase < s.down && phase < s.taps_w; ++phase) {
      const int64_t tap_count = taps_from(s.taps_w, phase, s.down);
      const int64_t count = s.out_w + tap_count - 1;  // pixels of this phase
      for (int64_t m = 0; m < count; ++m) {
        const A* __restrict__ from = row + (m * s.down + phase) * inner;
        A* __restrict__ to = phases + m * inner;
        for (int64_t c = 0; c < inner; ++c) to[c] = from[c];
      }
      fir<true>(out, phases, inner, taps + phase, s.down, tap_count, s.out_w * inner);
    }
    return;
  }
  for (int64_t ox = 0; ox < s.out_w; ++ox) {
    const int64_t i0 = fir_first_input<int64_t>(ox, s.up, s.down, s.pad_x0);
    const int64_t t0 = fir_first_tap<int64_t>(ox, s.up, s.down, s.pad_x0, i0);
    fir<Add>(out + ox * inner, row + (i0 - span.first) * inner, inner, taps + t0, s.up,
             taps_from(s.taps_w, t0, s.up), inner);
  }
}

// The part of the row buffer that holds pixels; the rest is padding and stays zero.
template <typename A>
struct RowBuffer {
  A* data;         // [span.count(), inner]
  int64_t first;   // first input pixel that is kept
  int64_t offset;  // where it lies in the buffer, in elements
  int64_t count;   // elements kept
};

template <typename A>
void upfirdn2d_rows(const Upfirdn2dCpuParams<A>& p, int64_t begin, int64_t end) {
  const Upfirdn2dShape& s = p.shape;
  const Span span = row_span(s);
  const int64_t row_elements = span.count() * s.inner;
  const int64_t phase_pixels = s.out_w + s.taps_w;  // enough for any phase of either direction
  const Scratch<A> row_scratch(row_elements);
  const Scratch<A> phase_scratch(phase_pixels * s.inner);

  RowBuffer<A> row{row_scratch.get(), span.first > 0 ? span.first : 0, 0, 0};
  const int64_t last = span.last < s.in_w - 1 ? span.last : s.in_w - 1;
  row.offset = (row.first - span.first) * s.inner;
  row.count = last < row.first ? 0 : (last - row.first + 1) * s.inner;
  if (row.count == 0) row.offset = 0;
  std::memset(row.data, 0, sizeof(A) * row_elements);

  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t plane = unit / s.out_h;
    const int64_t oy = unit % s.out_h;
    A* out = p.y + unit * s.out_w * s.inner;
    const int64_t i0 = fir_first_input<int64_t>(oy, s.up, s.down, s.pad_y0);
    const int64_t t0 = fir_first_tap<int64_t>(oy, s.up, s.down, s.pad_y0, i0);
    bool first = true;
    for (int64_t t = t0, iy = i0; t < s.taps_h; t += s.up, ++iy) {
      if (iy < 0 || iy >= s.in_h) continue;
      const A* __restrict__ src = p.x + ((plane * s.in_h + iy) * s.in_w + row.first) * s.inner;
      A* __restrict__ dst = row.data + row.offset;
      if (p.taps_2d) {
        std::memcpy(dst, src, sizeof(A) * row.count);
        const A* taps = p.taps_2d + t * s.taps_w;
        first ? filter_row<false>(s, span, row.data, taps, phase_scratch.get(), out)
              : filter_row<true>(s, span, row.data, taps, phase_scratch.get(), out);
      } else {
        const A tap = p.taps_y[t];
        if (first) {
          for (int64_t j = 0; j < row.count; ++j) dst[j] = tap * src[j];
        } else {
          for (int64_t j = 0; j < row.count; ++j) dst[j] += tap * src[j];
        }
      }
      first = false;
    }
    if (first) {  // only padding above and below
      std::memset(out, 0, sizeof(A) * s.out_w * s.inner);
    } else if (!p.taps_2d) {
      filter_row<false>(s, span, row.data, p.taps_x, phase_scratch.get(), out);
    }
  }
}

}  // namespace

template <typename A>
void upfirdn2d(const Upfirdn2dCpuParams<A>& params, int64_t begin, int64_t end) {
  upfirdn2d_rows(params, begin, end);
}

DELTAFAST_FLOAT_AND_DOUBLE(upfirdn2d, Upfirdn2dCpuParams)

}  // namespace deltafast::cpu::DELTAFAST_ISA
