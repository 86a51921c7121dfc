// The two kernels of a quantized product: one row of activations, and many. Weights lie along k in vectors, as in the file; the
// integer sums of four weight rows are exact and added across, so that lanes are rows, and what is done with them then
// (`add_block`) is one function: both kernels give the same bits.
#pragma once
#include "formats.h"
#include "quantized-kernels.h"

template <int lane>
INLINE f32x4 splat_lane(f32x4 a) {
  return __builtin_shufflevector(a, a, lane, lane, lane, lane);
}

/** What `add_block` must know of a format: some formats are of one kind. */
template <int spans_, int largest_, int offset_, bool minimums_>
struct FormatKind {
  static constexpr int spans = spans_, largest = largest_, offset = offset_;
  static constexpr bool minimums = minimums_;
};

/** What it must know for one form of activations; only 16-bit sums must know how large they become. */
template <class F>
using KindForBytes = FormatKind<F::spans, F::largest == signed_bytes ? signed_but_128 : F::largest, F::offset, F::minimums>;
template <class F>
using KindForWideBytes = FormatKind<F::spans, is_signed(F::largest) ? signed_but_128 : 0, F::offset, F::minimums>;
template <class F>
using KindForWords = FormatKind<F::spans, 0, F::offset, F::minimums>;
/** Of signed bytes with −128 among them. */
template <class F>
using KindWith128 = FormatKind<F::spans, signed_bytes, F::offset, F::minimums>;

/** Largest 16-bit sum of two products of an activation with a byte up to `largest`. */
constexpr int largest_pair(int largest) { return 2 * 127 * largest; }

/** Σ over k of four rows' a · low + b · high: bytes of weights and of activations. */
template <int largest, bool wide>
INLINE i32x4 dots(const u8x16* a, const u8x16* b, i8x16 low, i8x16 high) {
  if constexpr (largest == signed_bytes) {
    i32x4 sums[4];
    const i16x8 x0 = widen_low(low), x1 = widen_high(low), x2 = widen_low(high), x3 = widen_high(high);
    for (int r = 0; r < 4; r++)
      sums[r] = (dot2(x0, widen_low((i8x16)a[r])) + dot2(x1, widen_high((i8x16)a[r]))) +
                (dot2(x2, widen_low((i8x16)b[r])) + dot2(x3, widen_high((i8x16)b[r])));
    return add_across(sums[0], sums[1], sums[2], sums[3]);
  } else if constexpr (largest == signed_but_128) {
    // w · x = (w · sign x) · |x|, and |x| is what the dot product takes for its second operand.
    const i8x16 low_sign = negative(low), high_sign = negative(high);
    const u8x16 low_size = magnitude(low), high_size = magnitude(high);
    i32x4 sums[4];
    for (int r = 0; r < 4; r++) {
      const i8x16 first = ((i8x16)a[r] ^ low_sign) - low_sign, last = ((i8x16)b[r] ^ high_sign) - high_sign;
      if constexpr (wide)
        sums[r] = dot4_add(last, high_size, dot4_add(first, low_size, splat32(0)));
      else
        sums[r] = add_pairs(dot2(first, low_size)) + add_pairs(dot2(last, high_size));
    }
    return add_across(sums[0], sums[1], sums[2], sums[3]);
  } else if constexpr (wide) {
    i32x4 sums[4];
    for (int r = 0; r < 4; r++) sums[r] = dot4_add(high, b[r], dot4_add(low, a[r], splat32(0)));
    return add_across(sums[0], sums[1], sums[2], sums[3]);
  } else {
    return add_across<2 * largest_pair(largest)>(dot2(low, a[0]) + dot2(high, b[0]), dot2(low, a[1]) + dot2(high, b[1]),
                                                 dot2(low, a[2]) + dot2(high, b[2]), dot2(low, a[3]) + dot2(high, b[3]));
  }
}

/** Σ over 16 k of four rows' a · x. */
template <int largest, bool wide>
INLINE i32x4 dots16(const u8x16* a, i8x16 x) {
  if constexpr (wide)
    return add_across(dot4_add(x, a[0], splat32(0)), dot4_add(x, a[1], splat32(0)), dot4_add(x, a[2], splat32(0)),
                      dot4_add(x, a[3], splat32(0)));
  else
    return add_across<largest_pair(largest)>(dot2(x, a[0]), dot2(x, a[1]), dot2(x, a[2]), dot2(x, a[3]));
}

/** Σ over 16 k of a row's weights times words: a · x. */
INLINE i32x4 dot_words(u8x16 a, const int16_t* x) {
  return dot2(load<i16x8>(x), widen_low((i8x16)a)) + dot2(load<i16x8>(x + 8), widen_high((i8x16)a));
}

/** The same as `dots` and `dots16`, of words. */
INLINE i32x4 dots_words(const u8x16* a, const u8x16* b, const int16_t* x) {
  i32x4 sums[4];
  for (int r = 0; r < 4; r++) sums[r] = dot_words(a[r], x) + dot_words(b[r], x + 16);
  return add_across(sums[0], sums[1], sums[2], sums[3]);
}
INLINE i32x4 dots16_words(const u8x16* a, const int16_t* x) {
  return add_across(dot_words(a[0], x), dot_words(a[1], x), dot_words(a[2], x), dot_words(a[3], x));
}

/** F's offset in four lanes; from memory, for the reason given at `Constants`. */
template <class F>
INLINE f32x4 offset_of() {
  return F::offset == 0 ? splat(0) : constants.four * splat(F::offset / 4);
}

/** Σ (u − offset) · x = Σ u · x − offset · Σ x. Exact with bytes: all are integers below 2²⁴. */
template <class F>
INLINE f32x4 without_offset(i32x4 dot, f32x4 sum, f32x4 offset) {
  if constexpr (F::offset == 0) return to_float(dot);
  return nmadd(sum, offset, to_float(dot));
}

/** result + four rows' products with one block of activations; a and b are their first and last 16 quants. */
template <class F, Form form>
INLINE f32x4 add_block(f32x4 result, const u8x16* a, const u8x16* b, const f32x4* scale, const f32x4* minimum, f32x4 offset,
                       const BlockOf<form>* x) {
  constexpr bool wide = form == Form::bytes_wide;
  const f32x4 numbers = load<f32x4>(&x->scale);
  f32x4 part;
  if constexpr (F::spans == 2) {
    i32x4 low_dots, high_dots;
    if constexpr (form == Form::words) {
      low_dots = dots16_words(a, x->q);
      high_dots = dots16_words(b, x->q + 16);
    } else {
      low_dots = dots16<F::largest, wide>(a, load<i8x16>(x->q));
      high_dots = dots16<F::largest, wide>(b, load<i8x16>(x->q + 16));
    }
    const f32x4 low_sum = splat_lane<1>(numbers), high_sum = splat_lane<2>(numbers);
    part = scale[0] * without_offset<F>(low_dots, low_sum, offset);
    part = madd(scale[1], without_offset<F>(high_dots, high_sum, offset), part);
    if constexpr (F::minimums) part = nmadd(minimum[1], high_sum, nmadd(minimum[0], low_sum, part));
  } else {
    i32x4 all_dots;
    if constexpr (form == Form::words)
      all_dots = dots_words(a, b, x->q);
    else
      all_dots = dots<F::largest, wide>(a, b, load<i8x16>(x->q), load<i8x16>(x->q + 16));
    const f32x4 sum = splat_lane<3>(numbers);
    part = scale[0] * without_offset<F>(all_dots, sum, offset);
    if constexpr (F::minimums) part = nmadd(minimum[0], sum, part);
  }
  return madd(part, splat_lane<0>(numbers), result);
}

/**
 * Four rows are four streams, which the processor foresees badly. So the next four rows, which start at `ahead`, are touched
 * while these are read: as many lines for each block as its four rows take. Reading from memory becomes twice as fast and more.
 */
template <class F>
INLINE void touch_ahead(const uint8_t* ahead, size_t at) {
  constexpr int lines = (4 * F::bytes + 32) / 64;
  for (int line = 0; line < lines; line++) touch(ahead + 4 * at + 4 * F::bytes / lines * line);
}

/** See `QuantizedKernels`. */
template <class F, Form form>
f32x4 one_row(const FourRows& w, int in, const void* first, size_t step, const uint8_t* ahead) {
  const BlockOf<form>* x = (const BlockOf<form>*)first;
  const Constants c = constants;
  const f32x4 offset = offset_of<F>();
  const FourRows rows = w;
  f32x4 result = splat(0);
  const size_t end = (size_t)(in / F::elements) * F::bytes;
  for (size_t at = 0; at < end; at += F::bytes) {
    constexpr int parts = F::elements / 32;
    touch_ahead<F>(ahead, at);
    f32x4 scale[parts * F::spans], minimum[parts * F::spans];
    F::scales(rows, at, scale, minimum, c);
#pragma clang loop unroll(disable)
    for (int turn = 0; turn < parts / F::distinct; turn++)
      unroll<F::distinct>([&]<int S>() __attribute__((always_inline)) {
        const int first = (turn * F::distinct + S) * F::spans;
        u8x16 a[4], b[4];
        for (int r = 0; r < 4; r++) F::template quants<S>(rows.row[r] + at, turn, a[r], b[r], c);
        result = add_block<F, form>(result, a, b, scale + first, minimum + first, offset, x);
        x += step;
      });
  }
  return result;
}

/** See `QuantizedKernels`. */
template <class F>
void unpack(const FourRows& w, int first_block, int blocks, Unpacked& u, const uint8_t* ahead) {
  const Constants c = constants;
  constexpr int parts = F::elements / 32;
#pragma clang loop unroll(disable)
  for (int block = 0; block < blocks; block++) {
    const size_t at = (size_t)(first_block + block) * F::bytes;
    if (ahead) touch_ahead<F>(ahead, at);
    F::scales(w, at, u.scale + block * parts * F::spans, u.minimum + block * parts * F::spans, c);
#pragma clang loop unroll(disable)
    for (int turn = 0; turn < parts / F::distinct; turn++)
#pragma clang loop unroll(disable)
      for (int r = 0; r < 4; r++)
        unroll<F::distinct>([&]<int S>() __attribute__((always_inline)) {
          const int to = block * parts + turn * F::distinct + S;
          F::template quants<S>(w.row[r] + at, turn, u.a[to][r], u.b[to][r], c);
        });
  }
}

/** See `QuantizedKernels`; add-rows.cpp has those that there are. */
template <class Kind, Form form>
void add_rows(const Unpacked& u, int parts, size_t rows, const char* blocks, const size_t* offsets, int count, f32x4* results);

/** The kernels of format F. */
template <class F>
constexpr QuantizedKernels kernels_of() {
  QuantizedKernels kernels = {
      .elements = F::elements,
      .bytes = F::bytes,
      .spans = F::spans,
      .offset = F::offset,
      .is_signed = is_signed(F::largest),
      .minimums = F::minimums,
      .one_row_of_bytes = one_row<F, Form::bytes>,
      .one_row_of_words = one_row<F, Form::words>,
      .unpack = unpack<F>,
      .add_bytes = add_rows<KindForBytes<F>, Form::bytes>,
      .add_wide_bytes = add_rows<KindForWideBytes<F>, Form::bytes_wide>,
      .add_words = add_rows<KindForWords<F>, Form::words>,
      .add_with_128 = nullptr,
  };
  if constexpr (F::largest == signed_bytes) kernels.add_with_128 = add_rows<KindWith128<F>, Form::bytes>;
  return kernels;
}
