// −1, 0 and 1, and small floats: as ../reference/blocks-small.ts; and plain floats.
#include "encoders.h"
#include "formats-tables.h"

namespace {

INLINE float inverse_of(float scale) { return scale == 0 ? 0.0f : 1.0f / scale; }

INLINE void put_trits(const float* x, float inverse, int count, int digits, uint8_t* out) {
  for (int m = 0; m < count; m++) {
    uint8_t number = 0;
    for (int n = 0; n < 5; n++) number = (uint8_t)(number * 3 + (n < digits ? round_away(x[n * count + m] * inverse) + 1 : 0));
    out[m] = (uint8_t)((number * 256 + 242) / 243);
  }
}

void encode_tq1_0(const Row& row) {
  for (int64_t block = 0; block < row.columns / 256; block++) {
    const float* const x = row.x + 256 * block;
    uint8_t* const out = row.out + 54 * block;
    const float scale = largest_size(x, 256), inverse = inverse_of(scale);
    put_trits(x, inverse, 32, 5, out);
    put_trits(x + 160, inverse, 16, 5, out + 32);
    put_trits(x + 240, inverse, 4, 4, out + 48);
    put_half(out + 52, scale);
  }
}

void encode_tq2_0(const Row& row) {
  for (int64_t block = 0; block < row.columns / 256; block++) {
    const float* const x = row.x + 256 * block;
    uint8_t* const out = row.out + 66 * block;
    const float scale = largest_size(x, 256), inverse = inverse_of(scale);
    for (int half = 0; half < 2; half++)
      for (int m = 0; m < 32; m++) {
        int byte = 0;
        for (int n = 0; n < 4; n++) byte |= ((round_away(x[128 * half + 32 * n + m] * inverse) + 1) & 3) << 2 * n;
        out[32 * half + m] = (uint8_t)byte;
      }
    put_half(out + 64, scale);
  }
}

void encode_q1_0(const Row& row) {
  for (int64_t block = 0; block < row.columns / 128; block++) {
    const float* const x = row.x + 128 * block;
    uint8_t* const out = row.out + 18 * block;
    float sum = 0;
    for (int i = 0; i < 128; i++) sum += size_of(x[i]);
    put_half(out, sum / 128);
    for (int i = 0; i < 16; i++) {
      int byte = 0;
      for (int j = 0; j < 8; j++) byte |= (x[8 * i + j] >= 0) << j;
      out[2 + i] = (uint8_t)byte;
    }
  }
}

void encode_q2_0(const Row& row) {
  for (int64_t block = 0; block < row.columns / 64; block++) {
    const float* const x = row.x + 64 * block;
    uint8_t* const out = row.out + 18 * block;
    const float scale = largest_size(x, 64), inverse = inverse_of(scale);
    put_half(out, scale);
    for (int i = 0; i < 16; i++) {
      int byte = 0;
      for (int j = 0; j < 4; j++) byte |= clamped(round_away(x[4 * i + j] * inverse) + 1, 0, 3) << 2 * j;
      out[2 + i] = (uint8_t)byte;
    }
  }
}

/** Nibbles of the values nearest among those of E2M1 times `half`, the first of equals. */
template <int count>
INLINE void put_e2m1(const float* x, float half, uint8_t* out) {
  uint8_t nibbles[32];
  for (int i = 0; i < count; i += LANES) {
    const f32v value = load<f32v>(x + i);
    i32v best = {};
    f32v least = absolute(0.0f * half - value);
    for (int nibble = 1; nibble < 16; nibble++) {
      const f32v error = absolute((float)e2m1_values[nibble] * half - value);
      const i32v better = error < least;
      best = better ? splat32(nibble) : best;
      least = better ? error : least;
    }
    store_bytes(nibbles + i, best);
  }
  for (int j = 0; j < count / 2; j++) out[j] = (uint8_t)(nibbles[j] | nibbles[j + count / 2] << 4);
}

/** ⌊log2f(value)⌋: so near below a power of two that the logarithm rounds to it, the power's. value > 0, not infinite. */
INLINE int floor_log2(float value) {
  int below = 0;
  if (value < 0x1p-126f) {
    value *= 0x1p24f;
    below = 24;
  }
  const uint32_t bits = load<uint32_t>(&value);
  const int exponent = (int)(bits >> 23) - 127 - below;
  // log₂ of 2 − j · 2⁻²³ is this much below 1; it is rounded up when that is less than half the spacing of floats below exponent + 1.
  const double part = (double)(0x800000 - (int)(bits & 0x7fffff)) * 0x1p-24;
  const double missing = (part + part * part / 2) * 1.4426950408889634;
  int size = exponent + 1 < 0 ? -(exponent + 1) : exponent + 1, power = 0;
  if (size == 0 || part > 0x1p-10) return exponent;
  while (size >> (power + 1)) power++;
  // Toward zero from a power of two floats lie twice as close.
  const bool closer = exponent + 1 > 0 && (size & (size - 1)) == 0;
  const double half_spacing = 0x1p-24 * (double)(1 << power) * (closer ? 0.5 : 1.0);
  return missing < half_spacing ? exponent + 1 : exponent;
}

void encode_mxfp4(const Row& row) {
  for (int64_t block = 0; block < row.columns / 32; block++) {
    const float* const x = row.x + 32 * block;
    uint8_t* const out = row.out + 17 * block;
    const float most = largest_size(x, 32);
    const uint8_t exponent = most > 0 ? (uint8_t)(floor_log2(most) + 125) : 0;
    out[0] = exponent;
    const uint32_t bits = exponent < 2 ? 0x200000u << exponent : (uint32_t)(exponent - 1) << 23;
    put_e2m1<32>(x, load<float>(&bits), out + 1);
  }
}

INLINE uint8_t to_ue4m3(float value) {
  if (!(value > 0)) return 0;
  if (value > 448) return 0x7e;
  const uint32_t bits = load<uint32_t>(&value);
  int exponent = (int)(bits >> 23) - 120;
  if (exponent <= 0) {
    const int whole = truncated(value * 512 + 0.5f);
    return (uint8_t)(whole < 7 ? whole : 7);
  }
  int fraction = (int)((bits >> 20 & 7) + (bits >> 19 & 1));
  if (fraction > 7) {
    fraction = 0;
    exponent++;
  }
  return exponent >= 15 ? 0x7e : (uint8_t)(exponent << 3 | fraction);
}

void encode_nvfp4(const Row& row) {
  for (int64_t sub = 0; sub < row.columns / 16; sub++) {
    const float* const x = row.x + 16 * sub;
    uint8_t* const out = row.out + 36 * (sub / 4);
    const uint8_t code = to_ue4m3(largest_size(x, 16) / 6);
    const int exponent = code >> 3, fraction = code & 7;
    const uint32_t power = (uint32_t)(exponent + 120) << 23;
    const float scale = exponent == 0 ? (float)fraction * 0x1p-9f : (1 + (float)fraction / 8) * load<float>(&power);
    out[sub % 4] = code;
    put_e2m1<16>(x, scale / 2, out + 4 + 8 * (sub % 4));
  }
}

void encode_f32(const Row& row) { __builtin_memcpy(row.out, row.x, (size_t)row.columns * 4); }

void encode_f16(const Row& row) {
  int64_t i = 0;
  for (; i + LANES <= row.columns; i += LANES) store_halves(row.out + 2 * i, load<f32v>(row.x + i));
  for (; i < row.columns; i++) put_half(row.out + 2 * i, row.x[i]);
}

void encode_bf16(const Row& row) {
  for (int64_t i = 0; i < row.columns; i++) {
    const uint32_t bits = load<uint32_t>(row.x + i);
    store(row.out + 2 * i, (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16));
  }
}

}  // namespace

Encode encoder_of_small(int format) {
  switch (format) {
    case F32: return encode_f32;
    case F16: return encode_f16;
    case BF16: return encode_bf16;
    case TQ1_0: return encode_tq1_0;
    case TQ2_0: return encode_tq2_0;
    case Q1_0: return encode_q1_0;
    case Q2_0: return encode_q2_0;
    case MXFP4: return encode_mxfp4;
    case NVFP4: return encode_nvfp4;
    default: return nullptr;
  }
}
