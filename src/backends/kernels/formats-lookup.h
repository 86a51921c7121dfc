// Formats whose stored numbers index a table: IQ4_NL IQ4_XS IQ3_S IQ3_XXS.
#pragma once
#include "formats.h"
// Made by scripts/build-kernels.ts from src/backends/formats-tables.ts:
//   int8_t iq4_values[16]; uint8_t even_signs[128]; uint8_t iq3xxs_grid[4 · 256]; uint8_t iq3s_grid[4 · 512];
#include "formats-tables.h"

/** Nibbles that index iq4_values: low ones are the first 16. */
INLINE void iq4(const uint8_t* bytes, u8x16& a, u8x16& b, const Constants& c) {
  const u8x16 pairs = load<u8x16>(bytes);
  a = lookup(c.iq4_values, low_nibbles(pairs, c));
  b = lookup(c.iq4_values, high_nibbles(pairs, c));
}

struct FormatIQ4_NL {
  static constexpr int elements = 32, distinct = 1, bytes = 18, spans = 1, largest = signed_but_128, offset = 0;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    scale[0] = low_scale(gather32(rows, at), c);
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants& c) {
    iq4(block + 2, a, b, c);
  }
};

struct FormatIQ4_XS {
  static constexpr int elements = 256, distinct = 1, bytes = 136, spans = 1, largest = signed_but_128, offset = 0;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    const u32x4 head = gather32(rows, at), low = gather32(rows, at + 4);
    const f32x4 unit = low_scale(head, c);
    for (int s = 0; s < 8; s++) {
      const u32x4 packed = ((low >> (4 * s)) & 15) | (((head >> (16 + 2 * s)) & 3) << 4);
      scale[s] = unit * to_float((i32x4)packed - 32);
    }
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int turn, u8x16& a, u8x16& b, const Constants& c) {
    iq4(block + 8 + 16 * turn, a, b, c);
  }
};

/** The four magnitudes of an entry of a grid. */
INLINE uint32_t entry(const uint8_t* grid, int index) { return load<uint32_t>(grid + 4 * index); }

/** offset ± magnitude, minus where `negative` is 255. */
INLINE u8x16 with_signs(u8x16 magnitude, u8x16 negative, int offset) {
  return ((magnitude ^ negative) - negative) + splat8(offset);
}

struct FormatIQ3_S {
  static constexpr int elements = 256, distinct = 1, bytes = 110, spans = 1, largest = 31, offset = 16;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    const u32x4 packed = gather32(rows, at + 106);
    const f32x4 unit = low_scale(gather32(rows, at), c);
    for (int s = 0; s < 8; s++) scale[s] = unit * to_float((i32x4)(((packed >> (4 * s)) & 15) * 2 + 1));
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int turn, u8x16& a, u8x16& b, const Constants& c) {
    const uint64_t low = load<uint64_t>(block + 2 + 8 * turn);
    const int ninth = block[66 + turn];
    const u8x16 signs = (u8x16)load32_splat(block + 74 + 4 * turn);
    const auto at = [&](int quad) { return entry(iq3s_grid, ((low >> (8 * quad)) & 255) | (((ninth >> quad) & 1) << 8)); };
    a = with_signs((u8x16)(u32x4{at(0), at(1), at(2), at(3)}), spread_bits(signs, c.first_two_bytes, c), offset);
    b = with_signs((u8x16)(u32x4{at(4), at(5), at(6), at(7)}), spread_bits(signs, c.last_two_bytes, c), offset);
  }
};

struct FormatIQ3_XXS {
  // All magnitudes are even: half of each is kept, so that six bits suffice, and the scale's factor ½ goes away.
  static constexpr int elements = 256, distinct = 1, bytes = 98, spans = 1, largest = 63, offset = 32;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    const f32x4 unit = low_scale(gather32(rows, at), c);
    const Words first = gather128(rows, at + 66), second = gather128(rows, at + 82);
    for (int s = 0; s < 8; s++) {
      const u32x4 word = s < 4 ? first.word[s & 3] : second.word[s & 3];
      scale[s] = unit * (to_float((i32x4)(word >> 28)) + splat(0.5f));
    }
  }
  template <int>
  static INLINE void quants(const uint8_t* block, int turn, u8x16& a, u8x16& b, const Constants& c) {
    const uint64_t index = load<uint64_t>(block + 2 + 8 * turn);
    const uint32_t word = load<uint32_t>(block + 66 + 4 * turn);
    const uint32_t sign_bytes = even_signs[word & 127] | even_signs[(word >> 7) & 127] << 8 |
                                even_signs[(word >> 14) & 127] << 16 | (uint32_t)even_signs[(word >> 21) & 127] << 24;
    const u8x16 signs = (u8x16)(u32x4{sign_bytes, sign_bytes, sign_bytes, sign_bytes});
    const auto at = [&](int quad) { return entry(iq3xxs_grid, (index >> (8 * quad)) & 255); };
    a = with_signs((u8x16)(u32x4{at(0), at(1), at(2), at(3)}) >> 1, spread_bits(signs, c.first_two_bytes, c), offset);
    b = with_signs((u8x16)(u32x4{at(4), at(5), at(6), at(7)}) >> 1, spread_bits(signs, c.last_two_bytes, c), offset);
  }
};
