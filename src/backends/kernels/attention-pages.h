// How the pages of attention.h are written and read: the right sides of its products.
#pragma once
#include "attention.h"
#include "vector.h"

/// Numbers of a line that are made floats together.
constexpr int panel_width = 2 * LANES;

// A right side tells `line<V>(d, column, out)`: V vectors of line d from `column` on, exactly what is stored, however it is read;
// and `last`: the two vectors from `column` on of which only `count` numbers are there.

/// A panel of lines that have been made floats.
struct Floats {
  static constexpr int widest = 2;
  const float* at;
  template <int V>
  INLINE void line(int d, int column, f32v* out) const {
    for (int v = 0; v < V; v++) out[v] = load<f32v>(at + d * panel_width + column + v * LANES);
  }
};

/// Asks for what lies `ahead` bytes behind [p, p + bytes), once for each line of the cache.
template <int bytes>
INLINE void fetch(const void* p, ptrdiff_t ahead, int column_bytes) {
  if (bytes >= 64 || column_bytes % 64 == 0)
    for (int b = 0; b < bytes; b += 64) prefetch((const uint8_t*)p + ahead + b);
}

/// As floats what is stored as halves or as floats, and back: halves are bounded by their largest number.
INLINE f32v load_stored(const uint16_t* p) { return load_halves(p); }
INLINE f32v load_stored(const float* p) { return load<f32v>(p); }
INLINE f32v bounded(f32v a) { return lower_to(raise_to(a, splat(-65504.0f)), splat(65504.0f)); }
INLINE void store_as(uint16_t* p, f32v a) { store_halves(p, bounded(a)); }
INLINE void store_as(float* p, f32v a) { store(p, a); }
INLINE f32v load_some_or_all(const float* p, int count) { return count == LANES ? load<f32v>(p) : load_some(p, count); }

/// Lines of `stride` numbers, halves or floats.
template <class Number>
struct Numbers {
  static constexpr int widest = 8;
  const Number* at;
  int stride;
  ptrdiff_t ahead;
  template <int V>
  INLINE void line(int d, int column, f32v* out) const {
    const Number* const p = at + d * stride + column;
    fetch<(int)sizeof(Number) * V * LANES>(p, ahead, (int)sizeof(Number) * column);
    for (int v = 0; v < V; v++) out[v] = load_stored(p + v * LANES);
  }
  INLINE void last(int d, int column, int count, f32v* out) const {
    Number some[panel_width] = {};
    for (int i = 0; i < count; i++) some[i] = at[d * stride + column + i];
    Numbers{some, 0, 0}.template line<2>(0, 0, out);
  }
};

/// Lines of `stride` bytes, each with a scale: of 32 lines for each column (keys), or of each line for 32 columns (values).
template <bool of_columns>
struct Bytes {
  static constexpr int widest = 8;
  const int8_t* at;
  int stride;
  const float* scales;
  int scale_stride;
  ptrdiff_t ahead;
  template <int V>
  INLINE void line(int d, int column, f32v* out) const {
    const int8_t* const p = at + d * stride + column;
    fetch<V * LANES>(p, ahead, column);
    for (int v = 0; v < V; v++) out[v] = to_float(load_bytes(p + v * LANES)) * scale(d, column + v * LANES);
  }
  INLINE f32v scale(int d, int column) const {
    if constexpr (of_columns) return load<f32v>(scales + d / 32 * scale_stride + column);
    else return splat(scales[d * scale_stride + column / 32]);
  }
  INLINE void last(int d, int column, int count, f32v* out) const {
    int8_t some[panel_width] = {};
    for (int i = 0; i < count; i++) some[i] = at[d * stride + column + i];
    for (int v = 0; v < 2; v++) out[v] = to_float(load_bytes(some + v * LANES)) * (v * LANES < count ? scale(d, column + v * LANES) : f32v{});
  }
};

/// A head's part of a page of halves or floats; `next` is the part to be read next, of keys or of values, if not null.
template <class Number>
struct PlainPage {
  /// Of the keys, or of the values, of one head.
  static constexpr size_t part_bytes(int n) { return sizeof(Number) * n * page_positions; }
  static INLINE const uint8_t* values_of(const uint8_t* page, int n) { return page + part_bytes(n); }
  static INLINE Numbers<Number> keys(const uint8_t* page, const uint8_t* next, int, float*) {
    return {(const Number*)page, page_positions, next ? next - page : 0};
  }
  static INLINE Numbers<Number> values(const uint8_t* page, const uint8_t* next, int n, float*) {
    const uint8_t* const at = values_of(page, n);
    return {(const Number*)at, n, next ? next - at : 0};
  }
  static void put(const float* key, const float* value, int n, uint8_t* page, int slot) {
    Number* const keys = (Number*)page + slot;
    Number* const values = (Number*)values_of(page, n) + slot * n;
    for (int d = 0; d < n; d += LANES) {
      const int count = n - d < LANES ? n - d : LANES;
      Number numbers[2][LANES];
      store_as(numbers[0], load_some_or_all(key + d, count));
      store_as(numbers[1], load_some_or_all(value + d, count));
      for (int i = 0; i < count; i++) keys[(d + i) * page_positions] = numbers[0][i];
      for (int i = 0; i < count; i++) values[d + i] = numbers[1][i];
    }
  }
};

/// The same of bytes with scales.
struct BytePage {
  static constexpr int blocks(int n) { return (n + 31) / 32; }
  static constexpr size_t part_bytes(int n) { return (size_t)(n + 2 * blocks(n)) * page_positions; }
  static INLINE const uint8_t* values_of(const uint8_t* page, int n) { return page + part_bytes(n); }
  static INLINE Bytes<true> keys(const uint8_t* page, const uint8_t* next, int n, float* scales) {
    widen_scales(page, n, scales);
    return {(const int8_t*)page, page_positions, scales, page_positions, next ? next - page : 0};
  }
  static INLINE Bytes<false> values(const uint8_t* page, const uint8_t* next, int n, float* scales) {
    const uint8_t* const at = values_of(page, n);
    widen_scales(at, n, scales);
    return {(const int8_t*)at, n, scales, blocks(n), next ? next - at : 0};
  }
  static INLINE void widen_scales(const uint8_t* part, int n, float* scales) {
    const uint16_t* const halves = (const uint16_t*)(part + n * page_positions);
    for (int i = 0; i < blocks(n) * page_positions; i += LANES) store(scales + i, load_halves(halves + i));
  }
  static void put(const float* key, const float* value, int n, uint8_t* page, int slot) {
    uint8_t* const after = (uint8_t*)values_of(page, n);
    int8_t* const keys = (int8_t*)page + slot;
    int8_t* const values = (int8_t*)after + slot * n;
    uint16_t* const key_scales = (uint16_t*)(page + n * page_positions) + slot;
    uint16_t* const value_scales = (uint16_t*)(after + n * page_positions) + slot * blocks(n);
    for (int block = 0; block < blocks(n); block++) {
      const int from = 32 * block, count = n - from < 32 ? n - from : 32;
      int8_t bytes[32];
      key_scales[block * page_positions] = quantize(key + from, count, bytes);
      for (int i = 0; i < count; i++) keys[(from + i) * page_positions] = bytes[i];
      value_scales[block] = quantize(value + from, count, bytes);
      for (int i = 0; i < count; i++) values[from + i] = bytes[i];
    }
  }
  /// The scale as a half: the largest size becomes 127. Bytes are rounded by what the scale became as a half.
  static INLINE uint16_t quantize(const float* x, int count, int8_t* bytes) {
    f32v values[32 / LANES], most = {}, poison = {};
    for (int i = 0; i < 32; i += LANES) {
      const int there = count - i < 0 ? 0 : count - i < LANES ? count - i : LANES;
      const f32v v = values[i / LANES] = load_some_or_all(x + i, there);
      most = raise_to(most, absolute(v));
      poison += v * splat(0); // NaN from an infinity or NaN
    }
    uint16_t half[LANES];
    store_halves(half, bounded(splat(largest_lane(most) * (1 / 127.0f) + add_lanes(poison))));
    const f32v scale = load_halves(half);
    const f32v inverse = splat(scale[0] > 0 ? 1 / scale[0] : 0.0f);
    for (int i = 0; i < 32; i += LANES) {
      const f32v v = lower_to(raise_to(values[i / LANES] * inverse, splat(-127.0f)), splat(127.0f));
      const i32v q = round_to_int(v);
      for (int j = 0; j < LANES && i + j < count; j++) bytes[i + j] = (int8_t)q[j];
    }
    return half[0];
  }
};
