// How a storage format looks to the kernels, and what formats are taken apart with.
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
#include "quantized-kernels.h"
#include "vector.h"

constexpr int signed_bytes = -128, signed_but_128 = -127;
constexpr bool is_signed(int largest) { return largest < 0; }

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
