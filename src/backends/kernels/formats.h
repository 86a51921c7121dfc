// How a storage format looks to the kernels, and the formats' table.
//
// A quantized format F is a struct that says how to take its blocks apart:
//   elements, bytes   of one block; elements is a multiple of 32
//   spans             scales per 32 numbers: 1, or 2 (one per 16)
//   largest, offset   `quants` gives unsigned numbers q in 0 … largest ≤ 127, and a stored number is scale · (q − offset) − minimum;
//                     or largest = signed_bytes: `quants` gives any signed bytes, a stored number is scale · q;
//                     or largest = signed_but_128: the same, and −128 is not among them
//   minimums          whether there are minimums (else `scales` leaves them alone)
//   scales(rows, at, scale, minimum, constants)   for the block that starts `at` bytes into each of four rows: its scales (lanes are
//                     rows), one per span
//   quants<S>(block, turn, a, b, constants)   with s = turn · distinct + S: its numbers 32 s … 32 s + 15 and the next 16
//   distinct          how many S there are, which differ in shifts; the rest is done by turns
// The layouts are written down in src/backends/reference/blocks*.ts, from ggml-common.h (ggml-org/ggml).
#pragma once
#include "simd.h"

constexpr int signed_bytes = -128, signed_but_128 = -127;
constexpr bool is_signed(int largest) { return largest < 0; }

/** Four rows of a matrix, taken apart together. A matrix's last rows may stand in for missing ones. */
struct FourRows {
  const uint8_t* row[4];
};

/** The same four bytes of four rows. */
INLINE u32x4 gather32(const FourRows& rows, size_t at) {
  const u32x4 a = load32_low(rows.row[0] + at), b = load32_low(rows.row[1] + at);
  const u32x4 c = load32_low(rows.row[2] + at), d = load32_low(rows.row[3] + at);
  const u64x2 ab = (u64x2)__builtin_shufflevector(a, b, 0, 4, 1, 5), cd = (u64x2)__builtin_shufflevector(c, d, 0, 4, 1, 5);
  return (u32x4)__builtin_shufflevector(ab, cd, 0, 2);
}

/** The same sixteen bytes of four rows: lane r of word i is bytes 4i … 4i + 3 of row r. */
struct Words {
  u32x4 word[4];
};
INLINE Words gather128(const FourRows& rows, size_t at) {
  Words words;
  for (int r = 0; r < 4; r++) words.word[r] = load<u32x4>(rows.row[r] + at);
  transpose(words.word[0], words.word[1], words.word[2], words.word[3]);
  return words;
}

/** Bits `shift` … `shift + bits − 1` of each lane, as floats. */
template <int bits>
INLINE f32x4 field(u32x4 a, int shift) {
  return to_float((i32x4)((a >> shift) & ((1u << bits) - 1)));
}

/** Sixteen bytes, 255 where the bit is set and else 0: of the first two bytes' bits, or of the third's and fourth's. */
INLINE u8x16 spread_bits(u8x16 bits, u8x16 which_bytes, const Constants& c) {
  return (u8x16)((lookup(bits, which_bytes) & c.bit_of_byte) == c.bit_of_byte);
}

#include "formats-32.h"
#include "formats-256.h"
#include "formats-lookup.h"

/** Calls body.operator()<F>() for the quantized format with this id. False, and no call, for any other id. */
template <class Body>
INLINE bool with_quantized_format(int format, Body&& body) {
  switch (format) {
    case Q4_0: return body.template operator()<FormatQ4_0>(), true;
    case Q4_1: return body.template operator()<FormatQ4_1>(), true;
    case Q5_0: return body.template operator()<FormatQ5_0>(), true;
    case Q5_1: return body.template operator()<FormatQ5_1>(), true;
    case Q8_0: return body.template operator()<FormatQ8_0>(), true;
    case Q2_K: return body.template operator()<FormatQ2_K>(), true;
    case Q3_K: return body.template operator()<FormatQ3_K>(), true;
    case Q4_K: return body.template operator()<FormatQ4_K>(), true;
    case Q5_K: return body.template operator()<FormatQ5_K>(), true;
    case Q6_K: return body.template operator()<FormatQ6_K>(), true;
    case IQ4_NL: return body.template operator()<FormatIQ4_NL>(), true;
    case IQ4_XS: return body.template operator()<FormatIQ4_XS>(), true;
    case IQ3_S: return body.template operator()<FormatIQ3_S>(), true;
    case IQ3_XXS: return body.template operator()<FormatIQ3_XXS>(), true;
    default: return false;
  }
}
