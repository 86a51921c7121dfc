// Formats whose stored numbers index a table: IQ4_NL IQ4_XS IQ3_S IQ3_XXS.
#pragma once
#include "formats.h"

/** The values of iq4_values, 128 higher, so that they are unsigned. */
struct Iq4Table {
  alignas(16) uint8_t values[16];
  constexpr Iq4Table() : values{} {
    for (int i = 0; i < 16; i++) values[i] = (uint8_t)(iq4_values[i] + 128);
  }
};
static constexpr Iq4Table iq4_table;

struct FormatIQ4_NL : Format {
  static constexpr int bytes = 18, largest = 255, offset = 128;
  static constexpr Fields fields[] = {{2, 1}, {4, 4}};
  template <int>
  static INLINE void part(const Rows& rows, const Head&, int, Part& p) {
    p.scale[0] = rows.half(0);
    nibble_lookup(iq4_table.values, rows, 2, p);
  }
};

struct FormatIQ4_XS : Format {
  static constexpr int parts = 8, bytes = 136, largest = 255, offset = 128;
  static constexpr bool in_order = true;
  static constexpr Fields fields[] = {{2, 2}, {4, 33}};
  struct Head {
    f32v unit;
    u32v low, high;
  };
  static INLINE Head head(const Rows& rows) { return {rows.half(0), rows.word(4), rows.short_word(2)}; }
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    const u32v scale = ((head.low >> (4 * turn)) & 15) | (((head.high >> (2 * turn)) & 3) << 4);
    p.scale[0] = head.unit * to_float((i32v)scale - 32);
    nibble_lookup(iq4_table.values, rows, 8 + 16 * turn, p);
  }
};

/** offset ± magnitude: minus where `signs` has bits, the lowest for the first byte. */
INLINE u8v with_signs(u32v magnitudes, u32v signs, int offset) {
  const u8v negative = (u8v)(spread_bits(signs) * 255u);
  return (((u8v)magnitudes ^ negative) - negative) + splat8(offset);
}

struct FormatIQ3_S : Format {
  static constexpr int parts = 8, bytes = 110, largest = 31, offset = 16;
  static constexpr Fields fields[] = {{2, 1}, {4, 27}};
  struct Head {
    f32v unit;
    u32v scales;
  };
  static INLINE Head head(const Rows& rows) { return {rows.half(0), rows.word(106)}; }
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    p.scale[0] = head.unit * to_float((i32v)(((head.scales >> (4 * turn)) & 15) * 2 + 1));
    const u32v ninth = rows.word(66 + (turn & ~3)) >> (8 * (turn & 3)), signs = rows.word(74 + 4 * turn);
    for (int j = 0; j < 8; j++) {
      const u32v index = ((rows.word(2 + 8 * turn + (j & ~3)) >> (8 * (j & 3))) & 255) | (((ninth >> j) & 1) << 8);
      p.q[j] = with_signs(gather((const uint32_t*)iq3s_grid, index), signs >> (4 * j), offset);
    }
  }
};

/** The eight signs that seven bits stand for: the number of minuses is even. */
INLINE u32v even_signs_of(u32v seven) {
  seven = seven & 127;
  u32v parity = seven ^ (seven >> 4);
  parity = parity ^ (parity >> 2);
  parity = parity ^ (parity >> 1);
  return seven | ((parity & 1) << 7);
}

struct FormatIQ3_XXS : FormatWithUnit<0> {
  // All magnitudes are even: half of each is kept, so that six bits suffice, and the scale's factor ½ goes away.
  static constexpr int parts = 8, bytes = 98, largest = 63, offset = 32;
  static constexpr Fields fields[] = {{2, 1}, {4, 24}};
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    const u32v word = rows.word(66 + 4 * turn);
    p.scale[0] = head.unit * (to_float((i32v)(word >> 28)) + 0.5f);
    for (int j = 0; j < 8; j++) {
      const u32v index = (rows.word(2 + 8 * turn + (j & ~3)) >> (8 * (j & 3))) & 255;
      const u32v magnitudes = (gather((const uint32_t*)iq3xxs_grid, index) >> 1) & 0x7f7f7f7fu;
      p.q[j] = with_signs(magnitudes, even_signs_of(word >> (7 * (j >> 1))) >> (4 * (j & 1)), offset);
    }
  }
};
