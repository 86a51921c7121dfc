// Formats of one to four bits whose numbers index grids, or are ternary digits or small floats: IQ2 IQ1 TQ1_0 TQ2_0 Q1_0 Q2_0
// MXFP4 NVFP4.
#pragma once
#include "formats-lookup.h"

/** Eight numbers of an entry of eight bytes are two quads: offset ± magnitude, as `signs` says. */
INLINE void signed_entry(const uint8_t* grid, u32v index, u32v signs, int offset, u8v* q) {
  q[0] = with_signs(gather((const uint32_t*)grid, index * 2), signs, offset);
  q[1] = with_signs(gather((const uint32_t*)grid, index * 2 + 1), signs >> 4, offset);
}

struct FormatIQ2_XXS : FormatWithUnit<0> {
  static constexpr int parts = 8, bytes = 66, largest = 86, offset = 43;
  static constexpr Fields fields[] = {{2, 1}, {4, 16}};
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    const u32v indices = rows.word(2 + 8 * turn), word = rows.word(6 + 8 * turn);
    p.scale[0] = head.unit * 0.25f * (to_float((i32v)(word >> 28)) + 0.5f);
    for (int l = 0; l < 4; l++)
      signed_entry(iq2xxs_grid, (indices >> (8 * l)) & 255, even_signs_of(word >> (7 * l)), offset, p.q + 2 * l);
  }
};

/** Scales of both sixteens of part `turn`: nibbles from byte `at` on. */
INLINE void nibble_scales(const Rows& rows, int at, f32v unit, int turn, Part& p) {
  const u32v packed = rows.word(at + (turn & ~3)) >> (8 * (turn & 3));
  p.scale[0] = unit * (field<4>(packed, 0) + 0.5f);
  p.scale[1] = unit * (field<4>(packed, 4) + 0.5f);
}

struct FormatIQ2_XS : FormatWithUnit<0> {
  static constexpr int parts = 8, bytes = 74, spans = 2, largest = 86, offset = 43;
  static constexpr Fields fields[] = {{2, 1}, {4, 18}};
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    nibble_scales(rows, 66, head.unit * 0.25f, turn, p);
    for (int l = 0; l < 4; l++) {
      const u32v word = rows.word(2 + 8 * turn + 4 * (l >> 1)) >> (16 * (l & 1));
      signed_entry(iq2xs_grid, word & 511, even_signs_of(word >> 9), offset, p.q + 2 * l);
    }
  }
};

struct FormatIQ2_S : FormatWithUnit<0> {
  static constexpr int parts = 8, bytes = 82, spans = 2, largest = 86, offset = 43;
  static constexpr Fields fields[] = {{2, 1}, {4, 20}};
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    nibble_scales(rows, 74, head.unit * 0.25f, turn, p);
    const u32v low = rows.word(2 + 4 * turn), signs = rows.word(34 + 4 * turn);
    const u32v high = rows.word(66 + (turn & ~3)) >> (8 * (turn & 3));
    for (int l = 0; l < 4; l++)
      signed_entry(iq2s_grid, ((low >> (8 * l)) & 255) | (((high >> (2 * l)) & 3) << 8), signs >> (8 * l), offset, p.q + 2 * l);
  }
};

/** Eight times −1, 0 or 1, plus or minus 1, and 9 for the offset. `minus` is 1 or 0. */
INLINE void shifted_entry(u32v index, u32v minus, u8v* q) {
  const u32v shift = 0x0a0a0a0au - minus * 0x02020202u;
  for (int i = 0; i < 2; i++)
    q[i] = (u8v)(((gather((const uint32_t*)iq1_grid, index * 2 + i) & 0x1f1f1f1fu) << 3)) + (u8v)shift;
}

struct FormatIQ1_S : FormatWithUnit<0> {
  static constexpr int parts = 8, bytes = 50, largest = 18, offset = 9;
  static constexpr Fields fields[] = {{2, 1}, {4, 12}};
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    const u32v low = rows.word(2 + 4 * turn), word = rows.word(34 + 4 * (turn >> 1)) >> (16 * (turn & 1));
    p.scale[0] = head.unit * 0.125f * (field<3>(word, 12) * 2.0f + 1.0f);
    for (int l = 0; l < 4; l++)
      shifted_entry(((low >> (8 * l)) & 255) | (((word >> (3 * l)) & 7) << 8), (word >> 15) & 1, p.q + 2 * l);
  }
};

struct FormatIQ1_M : Format {
  static constexpr int parts = 8, bytes = 56, spans = 2, largest = 18, offset = 9;
  static constexpr Fields fields[] = {{4, 14}};
  struct Head {
    f32v unit;
  };
  static INLINE Head head(const Rows& rows) {
    const u32v first = rows.word(48), second = rows.word(52);
    const u32v bits = ((first >> 12) & 0xfu) | ((first >> 24) & 0xf0u) | ((second >> 4) & 0xf00u) | ((second >> 16) & 0xf000u);
    const u16h halves = __builtin_convertvector(bits, u16h);
    return {load_halves(&halves) * 0.125f};
  }
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    const u32v scales = rows.word(48 + 4 * (turn >> 2)) >> (16 * ((turn >> 1) & 1) + 6 * (turn & 1));
    for (int i = 0; i < 2; i++) p.scale[i] = head.unit * (field<3>(scales, 3 * i) * 2.0f + 1.0f);
    const u32v low = rows.word(4 * turn), high = rows.word(32 + 4 * (turn >> 1)) >> (16 * (turn & 1));
    for (int l = 0; l < 4; l++) {
      const u32v nibble = high >> (4 * l);
      shifted_entry(((low >> (8 * l)) & 255) | ((nibble & 7) << 8), (nibble >> 3) & 1, p.q + 2 * l);
    }
  }
};

struct FormatTQ1_0 : FormatWithUnit<52> {
  static constexpr int parts = 8, bytes = 54, largest = 2, offset = 1, distinct = 8;
  static constexpr Fields fields[] = {{4, 13}, {2, 1}};
  /** Digit n, given 3ⁿ, of each byte. */
  static INLINE u8v digit(u32v bytes, uint32_t power) {
    constexpr uint32_t even = 0x00ff00ffu;
    const u32v a = ((((bytes & even) * power) & even) * 3u >> 8) & even;
    const u32v b = (((((bytes >> 8) & even) * power) & even) * 3u) & ~even;
    return (u8v)(a | (b & 0xff00ff00u));
  }
  template <int s>
  static INLINE void part(const Rows& rows, const Head& head, int, Part& p) {
    constexpr uint32_t powers[] = {1, 3, 9, 27, 81};
    p.scale[0] = head.unit;
    for (int j = 0; j < 8; j++) {
      if (s < 5) p.q[j] = digit(rows.word(4 * j), powers[s < 5 ? s : 0]);
      else if (s < 7 || j < 4) p.q[j] = digit(rows.word(32 + 4 * (j & 3)), powers[2 * (s - 5) + (j >> 2)]);
      else p.q[j] = digit(rows.word(48), powers[j - 4]);
    }
  }
};

struct FormatTQ2_0 : FormatWithUnit<64> {
  static constexpr int parts = 8, bytes = 66, largest = 3, offset = 1, distinct = 4;
  static constexpr Fields fields[] = {{4, 16}, {2, 1}};
  template <int s>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    p.scale[0] = head.unit;
    for (int j = 0; j < 8; j++) p.q[j] = bits_of<2 * s>(rows.word(32 * turn + 4 * j), 0x03030303u);
  }
};

struct FormatQ1_0 : FormatWithUnit<0> {
  static constexpr int parts = 4, bytes = 18, largest = 2, offset = 1;
  static constexpr Fields fields[] = {{2, 1}, {4, 4}};
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    p.scale[0] = head.unit;
    const u32v bits = rows.word(2 + 4 * turn);
    for (int j = 0; j < 8; j++) p.q[j] = (u8v)(spread_bits(bits >> (4 * j)) << 1);
  }
};

struct FormatQ2_0 : FormatWithUnit<0> {
  static constexpr int parts = 2, bytes = 18, largest = 3, offset = 1;
  static constexpr Fields fields[] = {{2, 1}, {4, 4}};
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    p.scale[0] = head.unit;
    for (int j = 0; j < 8; j++) {
      const u32v bits = rows.word(2 + 8 * turn + (j & 4)) >> (8 * (j & 3));
      p.q[j] = (u8v)((bits & 3) | ((bits & 12) << 6) | ((bits & 48) << 12) | ((bits & 192) << 18));
    }
  }
};

/** The values of E2M1, doubled, and 12 more, so that they are unsigned. */
struct E2m1Table {
  alignas(16) uint8_t values[16];
  constexpr E2m1Table() : values{} {
    for (int i = 0; i < 16; i++) values[i] = (uint8_t)(e2m1_values[i] + 12);
  }
};
static constexpr E2m1Table e2m1_table;

struct FormatMXFP4 : Format {
  static constexpr int bytes = 17, largest = 24, offset = 12;
  static constexpr Fields fields[] = {{1, 1}, {4, 4}};
  template <int>
  static INLINE void part(const Rows& rows, const Head&, int, Part& p) {
    // 2^(code − 128), which is no normal number for codes 0 and 1.
    const u32v code = rows.byte(0), tiny = (u32v)(code < 2u);
    p.scale[0] = (f32v)((((code - 1) << 23) & ~tiny) | ((0x00200000u + code * 0x00200000u) & tiny));
    nibble_lookup(e2m1_table.values, rows, 1, p);
  }
};

struct FormatNVFP4 : Format {
  static constexpr int parts = 2, bytes = 36, spans = 2, largest = 24, offset = 12;
  static constexpr Fields fields[] = {{4, 9}};
  struct Head {
    u32v codes;
  };
  static INLINE Head head(const Rows& rows) { return {rows.word(0)}; }
  /** Half of what a code of UE4M3 means; 7f means 0. */
  static INLINE f32v scale(u32v code) {
    const u32v exponent = (code >> 3) & 15, none = (u32v)(exponent == 0u);
    const u32v digits = (code & 7) + (8 & ~none);
    const u32v power = ((exponent + (1 & none)) + (127 - 11)) << 23;
    return (f32v)((u32v)(to_float((i32v)digits) * (f32v)power) & (u32v)(code != 0x7fu));
  }
  template <int>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    for (int i = 0; i < 2; i++) {
      p.scale[i] = scale((head.codes >> (16 * turn + 8 * i)) & 255);
      for (int j = 0; j < 2; j++) {
        const u32v q = rows.word(4 + 16 * turn + 8 * i + 4 * j);
        p.q[4 * i + j] = lookup(e2m1_table.values, low_nibbles(q));
        p.q[4 * i + j + 2] = lookup(e2m1_table.values, high_nibbles(q));
      }
    }
  }
};
