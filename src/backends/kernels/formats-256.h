// The "K" formats: blocks of 256 numbers in sub-blocks of 16 or 32, whose scales are themselves quantized: Q2_K … Q6_K.
#pragma once
#include "formats.h"

/** Two bits a number: each 128 numbers use 32 bytes, lowest bits first. */
template <int S>
INLINE void two_bits(const uint8_t* q, u8x16& a, u8x16& b, const Constants& c) {
  const uint8_t* bytes = q + 32 * (S >> 2);
  a = bits_of<2 * (S & 3)>(load<u8x16>(bytes), c.low_pairs);
  b = bits_of<2 * (S & 3)>(load<u8x16>(bytes + 16), c.low_pairs);
}

/** Nibbles: each 64 numbers use 32 bytes, low nibbles first. */
template <int S>
INLINE void four_bits(const uint8_t* q, u8x16& a, u8x16& b, const Constants& c) {
  const uint8_t* bytes = q + 32 * (S >> 1);
  a = S & 1 ? high_nibbles(load<u8x16>(bytes), c) : low_nibbles(load<u8x16>(bytes), c);
  b = S & 1 ? high_nibbles(load<u8x16>(bytes + 16), c) : low_nibbles(load<u8x16>(bytes + 16), c);
}

struct FormatQ2_K {
  static constexpr int elements = 256, distinct = 4, bytes = 84, spans = 2, largest = 3, offset = 0;
  static constexpr bool minimums = true;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4* minimum, const Constants& c) {
    const u32x4 halves = gather32(rows, at + 80);
    const f32x4 unit = low_scale(halves, c), minimum_unit = high_scale(halves, c);
    const Words packed = gather128(rows, at);
    for (int s = 0; s < 16; s++) {
      scale[s] = unit * field<4>(packed.word[s >> 2], 8 * (s & 3));
      minimum[s] = minimum_unit * field<4>(packed.word[s >> 2], 8 * (s & 3) + 4);
    }
  }
  template <int S>
  static INLINE void quants(const uint8_t* block, int turn, u8x16& a, u8x16& b, const Constants& c) {
    two_bits<S>(block + 16 + 32 * turn, a, b, c);
  }
};

struct FormatQ3_K {
  static constexpr int elements = 256, distinct = 8, bytes = 110, spans = 2, largest = 7, offset = 4;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    const Words tail = gather128(rows, at + 94); // two bytes of q, twelve of scales, the unit: nothing past the block
    const f32x4 unit = high_scale(tail.word[3], c);
    u32x4 packed[3];
    for (int i = 0; i < 3; i++) packed[i] = (tail.word[i] >> 16) | (tail.word[i + 1] << 16);
    for (int s = 0; s < 16; s++) {
      const u32x4 low = (packed[(s >> 2) & 1] >> (8 * (s & 3) + 4 * (s >> 3))) & 15;
      const u32x4 high = (packed[2] >> (8 * (s & 3) + 2 * (s >> 2))) & 3;
      scale[s] = unit * to_float((i32x4)(low | (high << 4)) - 32);
    }
  }
  template <int S>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants& c) {
    two_bits<S>(block + 32, a, b, c);
    a |= bits_of<S - 2>(load<u8x16>(block), c.third_bits);
    b |= bits_of<S - 2>(load<u8x16>(block + 16), c.third_bits);
  }
};

/** Eight 6-bit scales and minimums in twelve bytes, behind the two units. */
INLINE void packed_scales(const FourRows& rows, size_t at, f32x4* scale, f32x4* minimum, const Constants& c) {
  const Words head = gather128(rows, at);
  const f32x4 unit = low_scale(head.word[0], c), minimum_unit = high_scale(head.word[0], c);
  const u32x4 first = head.word[1], second = head.word[2], third = head.word[3];
  const u32x4 scales[2] = {first & 0x3f3f3f3f, (third & 0x0f0f0f0f) | (((first >> 6) & 0x03030303) << 4)};
  const u32x4 minimums[2] = {second & 0x3f3f3f3f, ((third >> 4) & 0x0f0f0f0f) | (((second >> 6) & 0x03030303) << 4)};
  for (int s = 0; s < 8; s++) {
    scale[s] = unit * field<8>(scales[s >> 2], 8 * (s & 3));
    minimum[s] = minimum_unit * field<8>(minimums[s >> 2], 8 * (s & 3));
  }
}

struct FormatQ4_K {
  static constexpr int elements = 256, distinct = 2, bytes = 144, spans = 1, largest = 15, offset = 0;
  static constexpr bool minimums = true;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4* minimum, const Constants& c) {
    packed_scales(rows, at, scale, minimum, c);
  }
  template <int S>
  static INLINE void quants(const uint8_t* block, int turn, u8x16& a, u8x16& b, const Constants& c) {
    four_bits<S>(block + 16 + 32 * turn, a, b, c);
  }
};

struct FormatQ5_K {
  static constexpr int elements = 256, distinct = 8, bytes = 176, spans = 1, largest = 31, offset = 0;
  static constexpr bool minimums = true;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4* minimum, const Constants& c) {
    packed_scales(rows, at, scale, minimum, c);
  }
  template <int S>
  static INLINE void quants(const uint8_t* block, int, u8x16& a, u8x16& b, const Constants& c) {
    four_bits<S>(block + 48, a, b, c);
    a |= bits_of<S - 4>(load<u8x16>(block + 16), c.fifth_bits);
    b |= bits_of<S - 4>(load<u8x16>(block + 32), c.fifth_bits);
  }
};

struct FormatQ6_K {
  static constexpr int elements = 256, distinct = 4, bytes = 210, spans = 2, largest = 63, offset = 32;
  static constexpr bool minimums = false;
  static INLINE void scales(const FourRows& rows, size_t at, f32x4* scale, f32x4*, const Constants& c) {
    const f32x4 unit = high_scale(gather32(rows, at + 206), c); // the last two bytes of four: nothing past the block
    const Words packed = gather128(rows, at + 192);
    for (int s = 0; s < 16; s++)
      scale[s] = unit * to_float((i32x4)(packed.word[s >> 2] << (24 - 8 * (s & 3))) >> 24);
  }
  template <int S>
  static INLINE void quants(const uint8_t* block, int turn, u8x16& a, u8x16& b, const Constants& c) {
        const uint8_t* low = block + 64 * turn + 32 * (S & 1);
    const uint8_t* high = block + 128 + 32 * turn;
    const u8x16 low_a = load<u8x16>(low), low_b = load<u8x16>(low + 16);
    a = (S & 2 ? high_nibbles(low_a, c) : low_nibbles(low_a, c)) | bits_of<2 * S - 4>(load<u8x16>(high), c.third_pairs);
    b = (S & 2 ? high_nibbles(low_b, c) : low_nibbles(low_b, c)) | bits_of<2 * S - 4>(load<u8x16>(high + 16), c.third_pairs);
  }
};
