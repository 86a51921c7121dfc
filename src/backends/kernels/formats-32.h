// Formats with blocks of 32 numbers and one scale: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0.
#pragma once
#include "formats.h"

struct FormatQ4_0 {
  static constexpr int elements = 32, distinct = 1, bytes = 18, spans = 1, largest = 15, offset = 8;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    scale[0] = low_scale(gather32(rows, at), c);
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants& c) {
    const u8x16 pairs = load<u8x16>(block + 2);
    a = low_nibbles(pairs, c);
    b = high_nibbles(pairs, c);
  }
};

struct FormatQ4_1 {
  static constexpr int elements = 32, distinct = 1, bytes = 20, spans = 1, largest = 15, offset = 0;
  static constexpr bool minimums = true;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4* minimum, const Constants& c) {
    const u32x4 halves = gather32(rows, at);
    scale[0] = low_scale(halves, c);
    minimum[0] = -high_scale(halves, c);
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants& c) {
    const u8x16 pairs = load<u8x16>(block + 4);
    a = low_nibbles(pairs, c);
    b = high_nibbles(pairs, c);
  }
};

/** Nibbles at `block + 4`, fifth bits in the four bytes before them. */
INLINE void five_bits(const uint8_t* fifth_bits, u8x16& a, u8x16& b, const Constants& c) {
  const u8x16 pairs = load<u8x16>(fifth_bits + 4), bits = (u8x16)load32_splat(fifth_bits);
  a = low_nibbles(pairs, c) | (spread_bits(bits, c.first_two_bytes, c) & c.fifth_bits);
  b = high_nibbles(pairs, c) | (spread_bits(bits, c.last_two_bytes, c) & c.fifth_bits);
}

struct FormatQ5_0 {
  static constexpr int elements = 32, distinct = 1, bytes = 22, spans = 1, largest = 31, offset = 16;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    scale[0] = low_scale(gather32(rows, at), c);
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants& c) {
    five_bits(block + 2, a, b, c);
  }
};

struct FormatQ5_1 {
  static constexpr int elements = 32, distinct = 1, bytes = 24, spans = 1, largest = 31, offset = 0;
  static constexpr bool minimums = true;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4* minimum, const Constants& c) {
    FormatQ4_1::scales(rows, at, scale, minimum, c);
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants& c) {
    five_bits(block + 4, a, b, c);
  }
};

struct FormatQ8_0 {
  static constexpr int elements = 32, distinct = 1, bytes = 34, spans = 1, largest = signed_bytes, offset = 0;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    scale[0] = low_scale(gather32(rows, at), c);
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants&) {
    a = load<u8x16>(block + 2);
    b = load<u8x16>(block + 18);
  }
};
