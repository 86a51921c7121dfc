// The "K" formats: blocks of 256 numbers in sub-blocks of 16 or 32, whose scales are themselves quantized: Q2_K … Q6_K.
#pragma once
#include "formats.h"

/** Nibbles: each 64 numbers use 32 bytes, low nibbles first. */
template <int s>
INLINE void four_bits(const Rows& rows, int at, Part& p) {
  for (int j = 0; j < 8; j++) {
    const u32v q = rows.word(at + 4 * j);
    p.q[j] = s & 1 ? high_nibbles(q) : low_nibbles(q);
  }
}

struct FormatQ2_K : Format {
  static constexpr int parts = 8, bytes = 84, spans = 2, largest = 3, distinct = 4;
  static constexpr bool minimums = true;
  static constexpr Fields fields[] = {{4, 20}, {2, 2}};
  struct Head {
    f32v unit, minimum_unit;
  };
  static INLINE Head head(const Rows& rows) { return {rows.half(80), rows.half(82)}; }
  template <int s>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    const u32v packed = rows.word(8 * turn + 4 * (s >> 1));
    for (int i = 0; i < 2; i++) {
      p.scale[i] = head.unit * field<4>(packed, 16 * (s & 1) + 8 * i);
      p.minimum[i] = head.minimum_unit * field<4>(packed, 16 * (s & 1) + 8 * i + 4);
    }
    for (int j = 0; j < 8; j++) p.q[j] = bits_of<2 * s>(rows.word(16 + 32 * turn + 4 * j), 0x03030303u);
  }
};

struct FormatQ3_K : Format {
  static constexpr int parts = 8, bytes = 110, spans = 2, largest = 7, offset = 4, distinct = 8;
  static constexpr Fields fields[] = {{4, 27}, {2, 1}};
  struct Head {
    f32v unit;
    u32v low[2], high;
  };
  static INLINE Head head(const Rows& rows) { return {rows.half(108), {rows.word(96), rows.word(100)}, rows.word(104)}; }
  template <int s>
  static INLINE void part(const Rows& rows, const Head& head, int, Part& p) {
    for (int i = 0; i < 2; i++) {
      const int n = 2 * s + i; // of sixteen scales
      const u32v low = (head.low[(n >> 2) & 1] >> (8 * (n & 3) + 4 * (n >> 3))) & 15;
      const u32v high = (head.high >> (8 * (n & 3) + 2 * (n >> 2))) & 3;
      p.scale[i] = head.unit * to_float((i32v)(low | (high << 4)) - 32);
    }
    for (int j = 0; j < 8; j++)
      p.q[j] = bits_of<2 * (s & 3)>(rows.word(32 + 32 * (s >> 2) + 4 * j), 0x03030303u) |
               bits_of<s - 2>(rows.word(4 * j), 0x04040404u);
  }
};

/** Eight 6-bit scales and minimums in twelve bytes, behind the two units. */
struct SixBitScales {
  f32v unit, minimum_unit;
  u32v scales[2], minimums[2];
  static INLINE SixBitScales of(const Rows& rows) {
    const u32v first = rows.word(4), second = rows.word(8), third = rows.word(12);
    return {rows.half(0),
            rows.half(2),
            {first, (third & 0x0f0f0f0fu) | ((first >> 2) & 0x30303030u)},
            {second, ((third >> 4) & 0x0f0f0f0fu) | ((second >> 2) & 0x30303030u)}};
  }
  template <int s>
  INLINE void part(Part& p) const {
    p.scale[0] = unit * field<6>(scales[s >> 2], 8 * (s & 3));
    p.minimum[0] = minimum_unit * field<6>(minimums[s >> 2], 8 * (s & 3));
  }
};

struct FormatQ4_K : Format {
  static constexpr int parts = 8, bytes = 144, largest = 15, distinct = 8;
  static constexpr bool minimums = true, in_order = true;
  static constexpr Fields fields[] = {{2, 2}, {4, 35}};
  using Head = SixBitScales;
  static INLINE Head head(const Rows& rows) { return SixBitScales::of(rows); }
  template <int s>
  static INLINE void part(const Rows& rows, const Head& head, int, Part& p) {
    head.part<s>(p);
    four_bits<s>(rows, 16 + 32 * (s >> 1), p);
  }
};

struct FormatQ5_K : Format {
  static constexpr int parts = 8, bytes = 176, largest = 31, distinct = 8;
  static constexpr bool minimums = true;
  static constexpr Fields fields[] = {{2, 2}, {4, 43}};
  using Head = SixBitScales;
  static INLINE Head head(const Rows& rows) { return SixBitScales::of(rows); }
  template <int s>
  static INLINE void part(const Rows& rows, const Head& head, int, Part& p) {
    head.part<s>(p);
    four_bits<s>(rows, 48 + 32 * (s >> 1), p);
    for (int j = 0; j < 8; j++) p.q[j] |= bits_of<s - 4>(rows.word(16 + 4 * j), 0x10101010u);
  }
};

/**
 * Packed in the order in which parts read, which processors foresee: for each turn eight scales, and 32 bytes
 * of nibbles, 32 of upper bits, 32 of nibbles.
 */
struct FormatQ6_K : FormatWithUnit<208> {
  static constexpr int parts = 8, bytes = 210, spans = 2, largest = 63, offset = 32, distinct = 4;
  static constexpr Fields fields[] = {{4, 2, 192}, {4, 8, 0},  {4, 8, 128}, {4, 8, 32}, {4, 2, 200},
                                      {4, 8, 64}, {4, 8, 160}, {4, 8, 96},  {2, 1, 208}};
  template <int s>
  static INLINE void part(const Rows& rows, const Head& head, int turn, Part& p) {
    const int at = 104 * turn;
    const u32v packed = rows.word(at + 4 * (s >> 1));
    for (int i = 0; i < 2; i++) p.scale[i] = head.unit * to_float((i32v)(packed << (24 - 16 * (s & 1) - 8 * i)) >> 24);
    for (int j = 0; j < 8; j++) {
      const u32v low = rows.word(at + 8 + 64 * (s & 1) + 4 * j);
      p.q[j] = (s & 2 ? high_nibbles(low) : low_nibbles(low)) | bits_of<2 * s - 4>(rows.word(at + 40 + 4 * j), 0x30303030u);
    }
  }
};
