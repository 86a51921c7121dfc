// Products of F32, F16 and BF16 matrices with F32 activations. Each result is the sum of eight partial sums (k mod 8) and of the
// last k mod 8 products, always in the same order, however many rows there are.
#pragma once
#include "vector.h"

struct FormatF32 {
  static constexpr int bytes = 4;
  static INLINE void eight(const uint8_t* p, f32x4& a, f32x4& b) {
    a = load<f32x4>(p);
    b = load<f32x4>(p + 16);
  }
  static INLINE float one(const uint8_t* p) { return load<float>(p); }
};

struct FormatF16 {
  static constexpr int bytes = 2;
  static INLINE void eight(const uint8_t* p, f32x4& a, f32x4& b) {
    const u16x8 halves = load<u16x8>(p), zero = {};
    a = high_half_to_float((u32x4)__builtin_shufflevector(zero, halves, 0, 8, 1, 9, 2, 10, 3, 11));
    b = high_half_to_float((u32x4)__builtin_shufflevector(zero, halves, 4, 12, 5, 13, 6, 14, 7, 15));
  }
  static INLINE float one(const uint8_t* p) {
    const uint32_t upper = (uint32_t)load<uint16_t>(p) << 16;
    return high_half_to_float(u32x4{upper, upper, upper, upper})[0];
  }
};

struct FormatBF16 {
  static constexpr int bytes = 2;
  static INLINE void eight(const uint8_t* p, f32x4& a, f32x4& b) {
    const u16x8 halves = load<u16x8>(p), zero = {};
    a = (f32x4)__builtin_shufflevector(zero, halves, 0, 8, 1, 9, 2, 10, 3, 11);
    b = (f32x4)__builtin_shufflevector(zero, halves, 4, 12, 5, 13, 6, 14, 7, 15);
  }
  static INLINE float one(const uint8_t* p) {
    const uint32_t bits = (uint32_t)load<uint16_t>(p) << 16;
    return load<float>(&bits);
  }
};

/** Partial sums of four weight rows with one row of activations. */
struct Partials {
  f32x4 even[4], odd[4];
};

/** The sums over all of `in`, given those over its whole eights. */
template <class F>
INLINE f32x4 finish(const Partials& sums, const uint8_t* const* w, const float* x, int in) {
  f32x4 result;
  for (int r = 0; r < 4; r++) {
    const f32x4 four = sums.even[r] + sums.odd[r];
    float total = (four[0] + four[1]) + (four[2] + four[3]);
    for (int k = in & ~7; k < in; k++) total += F::one(w[r] + (size_t)k * F::bytes) * x[k];
    result[r] = total;
  }
  return result;
}

/** Four weight rows times one row: weights are converted on the way. */
template <class F>
f32x4 one_float_row(const uint8_t* const* w, int in, const float* x) {
  Partials sums = {};
#pragma clang loop unroll(disable)
  for (int k = 0; k + 8 <= in; k += 8) {
    const f32x4 x0 = load<f32x4>(x + k), x1 = load<f32x4>(x + k + 4);
    for (int r = 0; r < 4; r++) {
      f32x4 a, b;
      F::eight(w[r] + (size_t)k * F::bytes, a, b);
      sums.even[r] = madd(a, x0, sums.even[r]);
      sums.odd[r] = madd(b, x1, sums.odd[r]);
    }
  }
  return finish<F>(sums, w, x, in);
}

constexpr int most_float_rows = 16;

/** Four weight rows times rows index[0] … index[count − 1], count ≤ most_float_rows: weights are converted once, a piece at a time. */
template <class F>
void many_float_rows(const uint8_t* const* w, int in, const float* x, const int* index, int count, f32x4* results) {
  constexpr int piece = 128;
  float weights[4][piece];
  Partials sums[most_float_rows] = {};
  const int whole = in & ~7;
  for (int from = 0; from < whole; from += piece) {
    const int length = whole - from < piece ? whole - from : piece;
    for (int r = 0; r < 4; r++)
#pragma clang loop unroll(disable)
      for (int k = 0; k < length; k += 8) {
        f32x4 a, b;
        F::eight(w[r] + (size_t)(from + k) * F::bytes, a, b);
        store(weights[r] + k, a);
        store(weights[r] + k + 4, b);
      }
#pragma clang loop unroll(disable)
    for (int i = 0; i < count; i++) {
      const float* row = x + (size_t)index[i] * in + from;
      Partials part = sums[i];
#pragma clang loop unroll(disable)
      for (int k = 0; k < length; k += 8) {
        const f32x4 x0 = load<f32x4>(row + k), x1 = load<f32x4>(row + k + 4);
        for (int r = 0; r < 4; r++) {
          part.even[r] = madd(load<f32x4>(weights[r] + k), x0, part.even[r]);
          part.odd[r] = madd(load<f32x4>(weights[r] + k + 4), x1, part.odd[r]);
        }
      }
      sums[i] = part;
    }
  }
  for (int i = 0; i < count; i++) results[i] = finish<F>(sums[i], w, x + (size_t)index[i] * in, in);
}
