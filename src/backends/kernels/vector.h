// What kernels build of vectors on any machine: bits, transpositions, sums across lanes, half precision, the exponential.
#pragma once
#include "simd.h"

/**
 * Vectors that inner loops use. They are in memory, and not constants, on purpose: V8 makes a constant anew, with three
 * instructions, wherever it is used, but keeps a value that was read once in a register.
 */
struct Constants {
  u8x16 low_nibbles, low_pairs, third_pairs, third_bits, fifth_bits, bit_of_byte, first_two_bytes, last_two_bytes, iq4_values;
  i32x4 half_bits;
  f32x4 half_bias, half_bias_back, four;
};
extern Constants constants;

/** Some bits of each byte, moved `right` (or left, if negative) to the place of `mask`, which no neighbour's bits reach. */
template <int right>
INLINE u8x16 bits_of(u8x16 a, u8x16 mask) {
  return (u8x16)(right >= 0 ? (u16x8)a >> (right & 15) : (u16x8)a << (-right & 15)) & mask;
}
INLINE u8x16 low_nibbles(u8x16 a, const Constants& c) { return a & c.low_nibbles; }
INLINE u8x16 high_nibbles(u8x16 a, const Constants& c) { return bits_of<4>(a, c.low_nibbles); }

/** The F16 in the upper half of each lane, exactly; the lower halves do not matter. */
INLINE f32x4 high_half_to_float(u32x4 a) {
  // Exponent and fraction move to their place; the product corrects the exponent's bias and makes subnormals right.
  const i32x4 bits = ((i32x4)a >> 3) & splat32((int)0x8fffe000);
  const f32x4 value = (f32x4)bits * splat(0x1p112f);
  const i32x4 special = absolute(value) >= splat(65536.0f); // exponent 31: infinity or NaN
  return (f32x4)((i32x4)value | (special & splat32(0x7f800000)));
}

/** The same for scales, quicker: NaN becomes an infinity. */
INLINE f32x4 high_scale(u32x4 a, const Constants& c) {
  // Twice the bias makes exponent 31, and nothing else, overflow.
  return (f32x4)(((i32x4)a >> 3) & c.half_bits) * c.half_bias * c.half_bias * c.half_bias_back;
}
/** The F16 in the lower half of each lane. */
INLINE f32x4 low_scale(u32x4 a, const Constants& c) { return high_scale(a << 16, c); }

/** Rows to columns of a 4 × 4 matrix of 32-bit lanes. */
INLINE void transpose(u32x4& a, u32x4& b, u32x4& c, u32x4& d) {
  const u64x2 ab0 = (u64x2)__builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = (u64x2)__builtin_shufflevector(a, b, 2, 6, 3, 7);
  const u64x2 cd0 = (u64x2)__builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = (u64x2)__builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = (u32x4)__builtin_shufflevector(ab0, cd0, 0, 2);
  b = (u32x4)__builtin_shufflevector(ab0, cd0, 1, 3);
  c = (u32x4)__builtin_shufflevector(ab1, cd1, 0, 2);
  d = (u32x4)__builtin_shufflevector(ab1, cd1, 1, 3);
}

/** The sum of each vector's four lanes: {Σa, Σb, Σc, Σd}. */
INLINE i32x4 add_across(i32x4 a, i32x4 b, i32x4 c, i32x4 d) {
  const i32x4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const i32x4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const u64x2 x = (u64x2)ab, y = (u64x2)cd;
  return (i32x4)__builtin_shufflevector(x, y, 0, 2) + (i32x4)__builtin_shufflevector(x, y, 1, 3);
}
/** {Σa, Σb, Σc, Σd} of 16-bit lanes of size up to `largest`: they are widened as late as that allows. */
template <int largest>
INLINE i32x4 add_across(i16x8 a, i16x8 b, i16x8 c, i16x8 d) {
  static_assert(largest <= 32767);
  if constexpr (2 * largest > 32767) return add_across(add_pairs(a), add_pairs(b), add_pairs(c), add_pairs(d));
  const i16x8 ab = (i16x8)__builtin_shufflevector((i32x4)a, (i32x4)b, 0, 4, 1, 5) +
                   (i16x8)__builtin_shufflevector((i32x4)a, (i32x4)b, 2, 6, 3, 7);
  const i16x8 cd = (i16x8)__builtin_shufflevector((i32x4)c, (i32x4)d, 0, 4, 1, 5) +
                   (i16x8)__builtin_shufflevector((i32x4)c, (i32x4)d, 2, 6, 3, 7);
  if constexpr (4 * largest > 32767) {
    const u64x2 x = (u64x2)add_pairs(ab), y = (u64x2)add_pairs(cd);
    return (i32x4)__builtin_shufflevector(x, y, 0, 2) + (i32x4)__builtin_shufflevector(x, y, 1, 3);
  } else {
    const u64x2 x = (u64x2)ab, y = (u64x2)cd;
    return add_pairs((i16x8)__builtin_shufflevector(x, y, 0, 2) + (i16x8)__builtin_shufflevector(x, y, 1, 3));
  }
}

/** f<0>() … f<N − 1>(), so that shifts are constants. */
template <int N, int I = 0, class Body>
INLINE void unroll(Body&& body) {
  if constexpr (I < N) {
    body.template operator()<I>();
    unroll<N, I + 1>(body);
  }
}

/** yes where the mask is all ones, no where it is 0. */
INLINE f32x4 select(i32x4 mask, f32x4 yes, f32x4 no) { return (f32x4)(((i32x4)yes & mask) | ((i32x4)no & ~mask)); }
/** The sum of the four lanes. */
INLINE float add_lanes(f32x4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }

/**
 * eˣ with a relative error below 3e-7: Cody–Waite reduction and the minimax polynomial of Cephes `expf` (S. L. Moshier).
 * Exactly 1 at 0; below −86.9 it is 0, above 88.7 infinite.
 */
INLINE f32x4 exp(f32x4 x) {
  const f32x4 low = splat(-86.9f), high = splat(88.72283f);
  const f32x4 bounded = lower_to(raise_to(x, low), high);
  const f32x4 n = nearest(bounded * splat(1.44269504088896341f));
  f32x4 r = madd(n, splat(-0.693359375f), bounded);
  r = madd(n, splat(2.12194440e-4f), r);
  f32x4 p = splat(1.9875691500e-4f);
  p = madd(p, r, splat(1.3981999507e-3f));
  p = madd(p, r, splat(8.3334519073e-3f));
  p = madd(p, r, splat(4.1665795894e-2f));
  p = madd(p, r, splat(1.6666665459e-1f));
  p = madd(p, r, splat(5.0000001201e-1f));
  p = madd(p, r * r, r) + splat(1.0f);
  // Two factors, because 2¹²⁸ is no float but eˣ with n = 128 may be one.
  const f32x4 half = (f32x4)((__builtin_convertvector(n, i32x4) + 126) << 23);
  p = p * half * splat(2.0f);
  p = select((i32x4)(x < low), splat(0.0f), p);
  p = select((i32x4)(x > high), splat(__builtin_inff()), p);
  return select((i32x4)(x != x), x, p);
}

/** 1 / (1 + e⁻ˣ). */
INLINE f32x4 logistic(f32x4 x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }

/** The upper half of each lane is ignored, but for the sign, which it must repeat. */
INLINE f32x4 widen_lanes(i32x4 halves) {
  return (f32x4)((halves << 13) & (int32_t)0x8fffe000) * splat(0x1p112f);
}

/**
 * Four IEEE halves as floats. Exact for finite values; the bits of infinities and NaN give finite numbers, so that memory that
 * was never written cannot poison a sum in which it has weight 0.
 */
INLINE f32x4 widen4(const uint16_t* p) {
  return widen_lanes(__builtin_convertvector(load<i16x4>(p), i32x4));
}

/** Eight of them. */
INLINE void widen8(const uint16_t* p, f32x4* low, f32x4* high) {
  const i16x8 halves = load<i16x8>(p);
  *low = widen_lanes(__builtin_convertvector(__builtin_shufflevector(halves, halves, 0, 1, 2, 3), i32x4));
  *high = widen_lanes(__builtin_convertvector(__builtin_shufflevector(halves, halves, 4, 5, 6, 7), i32x4));
}

/** Rounds to the nearest half, ties to even; what is larger than 65504 becomes that. */
INLINE u32x4 narrow4(f32x4 x) {
  const u32x4 sign = ((u32x4)x >> 16) & 0x8000u;
  const f32x4 size = lower_to((f32x4)((u32x4)x & 0x7fffffffu), splat(65504.0f));
  const u32x4 bits = (u32x4)size;
  const u32x4 normal = ((bits + 0xfffu + ((bits >> 13) & 1u)) >> 13) - (112u << 10);
  // Adding 0.5 rounds to multiples of 2⁻²⁴, the spacing of subnormal halves.
  const u32x4 tiny = (u32x4)(size + splat(0.5f)) - 0x3f000000u;
  const u32x4 is_tiny = (u32x4)(size < splat(0x1p-14f));
  return ((tiny & is_tiny) | (normal & ~is_tiny)) | sign;
}
