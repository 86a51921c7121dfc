// The formats with blocks of 32: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0.
#pragma once
#include "formats.h"

struct FormatQ4_0 : Format {
  static constexpr int bytes = 18, largest = 15, offset = 8;
  static constexpr Fields fields[] = {{2, 1}, {4, 4}};
  template <int>
  static INLINE void part(const Rows& rows, const Head&, int, Part& p) {
    p.scale[0] = rows.half(0);
    nibbles(rows, 2, p);
  }
};

struct FormatQ4_1 : Format {
  static constexpr int bytes = 20, largest = 15;
  static constexpr bool minimums = true;
  static constexpr Fields fields[] = {{2, 2}, {4, 4}};
  template <int>
  static INLINE void part(const Rows& rows, const Head&, int, Part& p) {
    p.scale[0] = rows.half(0);
    p.minimum[0] = -rows.half(2);
    nibbles(rows, 4, p);
  }
};

/** Nibbles, and a word of fifth bits before them, at byte `at`. */
INLINE void five_bits(const Rows& rows, int at, Part& p) {
  const u32v fifth = rows.word(at);
  nibbles(rows, at + 4, p);
  for (int j = 0; j < 8; j++) p.q[j] |= (u8v)(spread_bits(fifth >> (4 * j)) << 4);
}

struct FormatQ5_0 : Format {
  static constexpr int bytes = 22, largest = 31, offset = 16;
  static constexpr Fields fields[] = {{2, 1}, {4, 5}};
  template <int>
  static INLINE void part(const Rows& rows, const Head&, int, Part& p) {
    p.scale[0] = rows.half(0);
    five_bits(rows, 2, p);
  }
};

struct FormatQ5_1 : Format {
  static constexpr int bytes = 24, largest = 31;
  static constexpr bool minimums = true;
  static constexpr Fields fields[] = {{2, 2}, {4, 5}};
  template <int>
  static INLINE void part(const Rows& rows, const Head&, int, Part& p) {
    p.scale[0] = rows.half(0);
    p.minimum[0] = -rows.half(2);
    five_bits(rows, 4, p);
  }
};

struct FormatQ8_0 : Format {
  static constexpr int bytes = 34, largest = 255, offset = 128;
  static constexpr Fields fields[] = {{2, 1}, {4, 8}};
  template <int>
  static INLINE void part(const Rows& rows, const Head&, int, Part& p) {
    p.scale[0] = rows.half(0);
    for (int j = 0; j < 8; j++) p.q[j] = (u8v)(rows.word(2 + 4 * j) ^ 0x80808080u);
  }
};
