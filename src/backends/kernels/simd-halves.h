// IEEE halves where no instruction converts them.
#pragma once

/** Four halves as floats, exactly, infinities and NaN included. */
INLINE f32v load_halves(const void* p) {
  // Sign, exponent and fraction move to their place; the product corrects the exponent's bias and makes subnormals right.
  const i32v bits = ((i32v)load_upper(p) >> 3) & (int32_t)0x8fffe000;
  const i32v special = (bits & 0x0f800000) == 0x0f800000;
  return (f32v)((i32v)((f32v)bits * 0x1p112f) | (special & 0x7f800000));
}

/** Rounds to the nearest half, ties to even; from 65520 on to an infinity. NaN stays NaN. */
INLINE void store_halves(void* p, f32v a) {
  const u32v sign = ((u32v)a >> 16) & 0x8000u;
  const i32v size = (i32v)((u32v)a & 0x7fffffffu), most = size > 0x47800000;
  const u32v bits = (u32v)((most & 0x47800000) | (size & ~most));
  const u32v normal = ((bits + 0xfffu + ((bits >> 13) & 1u)) >> 13) - (112u << 10);
  // Adding 0.5 rounds to multiples of 2⁻²⁴, the spacing of subnormal halves.
  const u32v tiny = (u32v)((f32v)bits + 0.5f) - 0x3f000000u;
  const u32v is_tiny = (u32v)((f32v)bits < 0x1p-14f), is_nan = (u32v)(size > 0x7f800000);
  store(p, __builtin_convertvector(((tiny & is_tiny) | (normal & ~is_tiny)) | sign | (is_nan & 0x200u), u16h));
}
