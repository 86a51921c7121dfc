// The two kernels of a quantized product: one row of activations, and many. Weights lie along k in vectors, as in the file; the
// integer sums of four weight rows are exact and added across, so that lanes are rows, and what is done with them then
// (`add_block`) is one function: both kernels give the same bits.
#pragma once
#include "formats.h"

/** How activations are rounded and multiplied: as bytes, with sums of 16 or of 32 bits (see `measure_dot`), or as 16-bit words. */
enum class Form { bytes, bytes_wide, words };

/** 32 activations: scale · q, and the sums of q (of the first 16, the last 16, all), which minimums and offsets need. */
template <class Q>
struct RoundedBlock {
  Q q[32];
  float scale, low_sum, high_sum, sum;
};

template <Form form>
struct BlockOfForm {
  using type = RoundedBlock<int8_t>;
};
template <>
struct BlockOfForm<Form::words> {
  using type = RoundedBlock<int16_t>;
};
template <Form form>
using BlockOf = typename BlockOfForm<form>::type;

constexpr size_t block_bytes(Form form) {
  return form == Form::words ? sizeof(BlockOf<Form::words>) : sizeof(BlockOf<Form::bytes>);
}

/** `blocks` holds the first block of all `rows`, then the second of all … */
struct RoundedRows {
  const char* blocks;
  size_t rows;
  Form form;
};

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

/** Four weight rows times one row of activations, whose blocks start at x and are `step` blocks apart. */
template <class F, Form form>
f32x4 one_row(const FourRows& w, int in, const BlockOf<form>* x, size_t step, const uint8_t* ahead) {
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

/** Four rows' next 256 weights (or what is left of them), taken apart. */
struct Unpacked {
  u8x16 a[8][4], b[8][4];
  f32x4 scale[16], minimum[16];
};

template <class F>
__attribute__((noinline)) void unpack(const FourRows& w, int first_block, int blocks, Unpacked& u, const uint8_t* ahead) {
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

/** Most rows a pass over the weights serves: their part of a block must stay in the first-level cache. */
constexpr int most_rows = 64;

/** Whether −128 is among the signed bytes of parts 0 … parts − 1. */
inline bool holds_minus_128(const Unpacked& u, int parts) {
  u8x16 found = {};
  for (int s = 0; s < parts; s++)
    for (int r = 0; r < 4; r++) found |= (u8x16)((u.a[s][r] == 128) | (u.b[s][r] == 128));
  return any(found);
}

/** results[i] += four rows' unpacked weights times row i of activations, whose blocks are at x + offsets[i]. */
template <class F, Form form>
__attribute__((noinline)) void add_rows(const Unpacked& u, int parts, size_t rows, const char* blocks, const size_t* offsets, int count,
                     f32x4* results) {
  for (int s = 0; s < parts; s++) {
    u8x16 a[4], b[4];
    for (int r = 0; r < 4; r++) {
      a[r] = u.a[s][r];
      b[r] = u.b[s][r];
    }
    f32x4 scale[F::spans], minimum[F::spans];
    for (int i = 0; i < F::spans; i++) {
      scale[i] = u.scale[s * F::spans + i];
      if constexpr (F::minimums) minimum[i] = u.minimum[s * F::spans + i];
    }
    const f32x4 offset = offset_of<F>();
#pragma clang loop unroll(disable)
    for (int i = 0; i < count; i++)
      results[i] = add_block<F, form>(results[i], a, b, scale, minimum, offset, (const BlockOf<form>*)(blocks + offsets[i]));
    blocks += rows * sizeof(BlockOf<form>);
  }
}

/** Four weight rows times rows index[0] … index[count − 1] of x, count ≤ most_rows. */
template <class F>
void many_rows(const FourRows& w, int in, const RoundedRows& x, const int* index, int count, f32x4* results, const uint8_t* ahead) {
  const size_t block = block_bytes(x.form);
  size_t offsets[most_rows];
  for (int i = 0; i < count; i++) {
    offsets[i] = (size_t)index[i] * block;
    results[i] = splat(0);
  }
  Unpacked u;
  constexpr int parts = F::elements / 32, blocks_at_once = 8 / parts;
  const int blocks = in / F::elements;
  const bool wide = x.form == Form::bytes_wide;
  for (int first = 0; first < blocks; first += blocks_at_once) {
    const int now = blocks - first < blocks_at_once ? blocks - first : blocks_at_once;
    unpack<F>(w, first, now, u, ahead);
    const char* at = x.blocks + (size_t)first * parts * x.rows * block;
    using Kind = FormatKind<F::spans, F::largest, F::offset, F::minimums>;
    auto add = add_rows<Kind, Form::words>;
    if constexpr (F::largest == signed_bytes) {
      using QuickKind = FormatKind<F::spans, signed_but_128, F::offset, F::minimums>;
      if (x.form != Form::words)
        add = holds_minus_128(u, now * parts) ? add_rows<Kind, Form::bytes>
              : wide                          ? add_rows<QuickKind, Form::bytes_wide>
                                              : add_rows<QuickKind, Form::bytes>;
    } else if (x.form != Form::words) {
      add = wide ? add_rows<Kind, Form::bytes_wide> : add_rows<Kind, Form::bytes>;
    }
    add(u, now * parts, x.rows, at, offsets, count, results);
  }
}
