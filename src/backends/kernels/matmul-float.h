// Products of F32, F16 and BF16 matrices with F32 activations: `float_rows` is all that others call.
//
// Both sides lie along k, so lanes are taken along k: every result is LANES chains of multiply-adds over k in ascending order (a
// tail counts as one more vector, filled with zeros), which are then added in a fixed order. So it is the same bits for any
// number of rows, wherever they lie. A block of four weight rows and up to `most_columns` rows of activations fills the
// registers.
// Where there are few registers, weights are made floats once for many blocks, a piece of k at a time.
#pragma once
#include "vector.h"

struct FormatF32 {
  static constexpr int bytes = 4;
  static INLINE f32v vector(const uint8_t* p) { return load<f32v>(p); }
};

struct FormatF16 {
  static constexpr int bytes = 2;
  static INLINE f32v vector(const uint8_t* p) { return load_halves(p); }
};

struct FormatBF16 {
  static constexpr int bytes = 2;
  static INLINE f32v vector(const uint8_t* p) { return (f32v)load_upper(p); }
};

namespace floats {

constexpr int weights_at_once = 4;
constexpr int most_columns = vector_registers == 32 ? 6 : 3;
/**
 * Numbers along k that are made floats together, and the rows of activations that share them. Where a block has twice as many
 * multiply-adds for a weight, it hides the conversion, and all blocks read the weights as they are.
 */
constexpr int piece = 1024, columns_in_chunk = vector_registers == 32 ? most_columns : 48;

/** The numbers from k on, zeros from `end` on. */
template <class F>
INLINE f32v tail(const uint8_t* row, int k, int end) {
  uint8_t some[LANES * F::bytes] = {};
  for (int i = 0; i < (end - k) * F::bytes; i++) some[i] = row[(size_t)k * F::bytes + i];
  return F::vector(some);
}

/** sums[c][r] += the products of w[r] and x[c] over [0, count), which may end in a tail. */
template <class F, int columns>
INLINE void add_products(const uint8_t* const* w, const float* const* x, int count, f32v (&sums)[columns][weights_at_once]) {
  int k = 0;
#pragma GCC unroll 1
  for (; k + LANES <= count; k += LANES) {
    f32v column[columns];
    for (int c = 0; c < columns; c++) column[c] = load<f32v>(x[c] + k);
    for (int r = 0; r < weights_at_once; r++) {
      const f32v weight = F::vector(w[r] + (size_t)k * F::bytes);
      for (int c = 0; c < columns; c++) sums[c][r] = madd(weight, column[c], sums[c][r]);
    }
  }
  if (k < count)
    for (int r = 0; r < weights_at_once; r++) {
      const f32v weight = tail<F>(w[r], k, count);
      for (int c = 0; c < columns; c++) sums[c][r] = madd(weight, tail<FormatF32>((const uint8_t*)x[c], k, count), sums[c][r]);
    }
}

/** What a block of products reads and writes: four weight rows, of which `valid` have results. */
struct Block {
  const uint8_t* w[weights_at_once];
  int valid;
  const float* x;
  int in;
  const int* index;  // null: all rows
  float* y;          // of the first weight row
  size_t y_stride;
  INLINE int64_t row(int i) const { return index ? index[i] : i; }
};

/** The products over k in [from, from + count) of rows first … first + columns − 1, added to what `kept` holds from before. */
template <class F, int columns>
void multiply(const Block& b, const uint8_t* const* w, int from, int count, int first, f32v (*kept)[weights_at_once]) {
  const float* x[columns];
  for (int c = 0; c < columns; c++) x[c] = b.x + b.row(first + c) * b.in + from;
  f32v sums[columns][weights_at_once] = {};
  if (from > 0)
    for (int c = 0; c < columns; c++)
      for (int r = 0; r < weights_at_once; r++) sums[c][r] = kept[c][r];
  add_products<F, columns>(w, x, count, sums);
  if (from + count < b.in) {
    for (int c = 0; c < columns; c++)
      for (int r = 0; r < weights_at_once; r++) kept[c][r] = sums[c][r];
    return;
  }
  for (int c = 0; c < columns; c++) {
    const f32x4 results = add_across(sums[c][0], sums[c][1], sums[c][2], sums[c][3]);
    float* const y = b.y + (size_t)b.row(first + c) * b.y_stride;
    if (b.valid == weights_at_once) store(y, results);
    else
      for (int r = 0; r < b.valid; r++) y[r] = results[r];
  }
}

template <class F, int columns = most_columns>
INLINE void multiply(int now, const Block& b, const uint8_t* const* w, int from, int count, int first, f32v (*kept)[weights_at_once]) {
  if (now == columns) return multiply<F, columns>(b, w, from, count, first, kept);
  if constexpr (columns > 1) multiply<F, columns - 1>(now, b, w, from, count, first, kept);
}

/** Columns first … last − 1, more of them than one block holds. */
template <class F>
void multiply_chunk(const Block& b, int first, int last) {
  alignas(64) float weights[weights_at_once][piece];
  f32v kept[columns_in_chunk][weights_at_once];
  const uint8_t* w[weights_at_once];
  for (int r = 0; r < weights_at_once; r++) w[r] = (const uint8_t*)weights[r];
  for (int from = 0; from < b.in; from += piece) {
    const int count = b.in - from < piece ? b.in - from : piece;
    for (int r = 0; r < weights_at_once; r++) {
      const uint8_t* const row = b.w[r] + (size_t)from * F::bytes;
      int k = 0;
      for (; k + LANES <= count; k += LANES) store(weights[r] + k, F::vector(row + (size_t)k * F::bytes));
      if (k < count) store(weights[r] + k, tail<F>(row, k, count));
    }
    for (int i = first; i < last; i += most_columns)
      multiply<FormatF32>(last - i < most_columns ? last - i : most_columns, b, w, from, count, i, kept + (i - first));
  }
}

}  // namespace floats

/**
 * y[t][r] = the products of weight row r, of `rows` that follow each other at w, with row t of x [any, in], for t = index[0] …
 * index[count − 1], or 0 … count − 1 if index is null; y_stride floats from one t to the next. Any rows, count ≥ 0, in ≥ 1. Fastest
 * with as many weight rows a call as the second-level cache holds: x is read once for all of them.
 */
template <class F>
void float_rows(const uint8_t* w, int rows, int in, const float* x, const int* index, int count, float* y, size_t y_stride) {
  using namespace floats;
  const size_t stride = (size_t)in * F::bytes;
  for (int first = 0; first < count; first += columns_in_chunk) {
    const int last = count - first < columns_in_chunk ? count : first + columns_in_chunk;
    for (int o = 0; o < rows; o += weights_at_once) {
      Block b = {{}, rows - o < weights_at_once ? rows - o : weights_at_once, x, in, index, y + o, y_stride};
      for (int r = 0; r < weights_at_once; r++) b.w[r] = w + (size_t)(o + (r < b.valid ? r : b.valid - 1)) * stride;
      if (last - first <= most_columns) multiply<F>(last - first, b, b.w, 0, in, first, nullptr);
      else if constexpr (columns_in_chunk > most_columns) multiply_chunk<F>(b, first, last);
    }
  }
}
