// Blocks of 32 values with one scale: as ../reference/blocks32.ts.
#include "encoders.h"

namespace {

/** 32 levels of 4 bits: byte j holds values j and j + 16. */
INLINE void put_nibbles(const uint8_t* levels, uint8_t* out) {
  for (int j = 0; j < 16; j++) out[j] = (uint8_t)((levels[j] & 15) | levels[j + 16] << 4);
}
/** 32 levels of 5 bits: first the fifth bits, then nibbles. */
INLINE void put_fives(const uint8_t* levels, uint8_t* out) {
  uint32_t fifth = 0;
  for (int j = 0; j < 32; j++) fifth |= (uint32_t)(levels[j] >> 4 & 1) << j;
  store(out, fifth);
  put_nibbles(levels, out + 4);
}
template <bool five>
INLINE void put_levels(const uint8_t* levels, uint8_t* out) {
  if (five) put_fives(levels, out);
  else put_nibbles(levels, out);
}

/** The inverse of a scale is infinite for scales below 2⁻¹²⁷ or so: then C's conversions decide, and numbers go one by one. */
INLINE bool plain(float inverse) { return size_of(inverse) < __builtin_inff(); }

INLINE float mean_square(const Row& row) { return sum_of_squares(row.x, row.columns) / (float)row.columns; }

/** Importance and values of the next blocks, a block a lane. */
INLINE int gather_blocks(const Row& row, int64_t first, float sigma2, f32v* x, f32v* weights) {
  const int64_t blocks = row.columns / 32;
  const int count = (int)(blocks - first < LANES ? blocks - first : LANES);
  transpose<32>(row.x + 32 * first, count, x);
  transpose<32>(row.importance + 32 * first, count, weights);
  for (int i = 0; i < 32; i++) weights[i] = weigh(x[i], weights[i], splat(sigma2));
  return count;
}

template <int steps>
void encode_signed(const Row& row) {
  constexpr bool five = steps == 16;
  constexpr int block_bytes = five ? 22 : 18;
  uint8_t levels[32];
  if (row.importance) {
    const float sigma2 = mean_square(row);
    for (int64_t first = 0; first < row.columns / 32; first += LANES) {
      f32v x[32], weights[32];
      const int count = gather_blocks(row, first, sigma2, x, weights);
      const Signed best = round_signed<32>(x, weights, steps);
      for (int lane = 0; lane < count; lane++) {
        uint8_t* const out = row.out + block_bytes * (first + lane);
        put_half(out, best.scale[lane]);
        const float inverse = best.inverse[lane];
        for (int i = 0; i < 32; i += LANES) {
          const i32v level = signed_level(splat(inverse), load<f32v>(row.x + 32 * (first + lane) + i), steps) + steps;
          store_bytes(levels + i, inverse == 0 ? i32v{} : level);
        }
        put_levels<five>(levels, out + 2);
      }
    }
    return;
  }
  for (int64_t block = 0; block < row.columns / 32; block++) {
    const float* const x = row.x + 32 * block;
    uint8_t* const out = row.out + block_bytes * block;
    // The first of the farthest: a search only where both signs occur.
    const float most = largest_size(x, 32);
    float value = 0;
    for (int i = 31; i >= 0; i--) value = most != 0 && size_of(x[i]) == most ? x[i] : value;
    const float scale = value / -steps, inverse = scale == 0 ? 0.0f : 1.0f / scale;
    put_half(out, scale);
    if (plain(inverse)) {
      for (int i = 0; i < 32; i += LANES) {
        const f32v level = load<f32v>(x + i) * inverse + ((float)steps + 0.5f);
        store_bytes(levels + i, clamped(__builtin_convertvector(level, i32v), -128, 2 * steps - 1));
      }
    } else {
      for (int i = 0; i < 32; i++) {
        const int level = (int8_t)truncated(x[i] * inverse + ((float)steps + 0.5f));
        levels[i] = (uint8_t)(level < 2 * steps - 1 ? level : 2 * steps - 1);
      }
    }
    put_levels<five>(levels, out + 2);
  }
}

template <int highest>
void encode_affine(const Row& row) {
  constexpr bool five = highest == 31;
  constexpr int block_bytes = five ? 24 : 20;
  uint8_t levels[32];
  if (row.importance) {
    const float sigma2 = mean_square(row);
    for (int64_t first = 0; first < row.columns / 32; first += LANES) {
      f32v x[32], weights[32];
      const int count = gather_blocks(row, first, sigma2, x, weights);
      const Affine best = round_affine<32, false>(x, weights, highest, {-0.9f, 0.05f, 36});
      for (int lane = 0; lane < count; lane++) {
        uint8_t* const out = row.out + block_bytes * (first + lane);
        put_half(out, best.scale[lane]);
        put_half(out + 2, -best.depth[lane]);
        for (int i = 0; i < 32; i += LANES) {
          const f32v level = best.inverse[lane] * (load<f32v>(row.x + 32 * (first + lane) + i) - best.low[lane]);
          store_bytes(levels + i, clamped(nearest_whole(level), 0, highest));
        }
        put_levels<five>(levels, out + 4);
      }
    }
    return;
  }
  for (int64_t block = 0; block < row.columns / 32; block++) {
    const float* const x = row.x + 32 * block;
    uint8_t* const out = row.out + block_bytes * block;
    float low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
      low = x[i] < low ? x[i] : low;
      high = x[i] > high ? x[i] : high;
    }
    const float scale = (high - low) / (float)highest, inverse = scale == 0 ? 0.0f : 1.0f / scale;
    put_half(out, scale);
    put_half(out + 2, low);
    if (plain(inverse) && plain(scale)) {
      for (int i = 0; i < 32; i += LANES) {
        const f32v level = (load<f32v>(x + i) - low) * inverse + 0.5f;
        const i32v whole = __builtin_convertvector(level, i32v);
        store_bytes(levels + i, five ? whole : clamped(whole, -128, 15));
      }
    } else {
      for (int i = 0; i < 32; i++) {
        const int level = truncated((x[i] - low) * inverse + 0.5f);
        levels[i] = five ? (uint8_t)level : (uint8_t)((int8_t)level < 15 ? (int8_t)level : 15);
      }
    }
    put_levels<five>(levels, out + 4);
  }
}

void encode_q8_0(const Row& row) {
  for (int64_t block = 0; block < row.columns / 32; block++) {
    const float* const x = row.x + 32 * block;
    uint8_t* const out = row.out + 34 * block;
    const float scale = largest_size(x, 32) / 127, inverse = scale == 0 ? 0.0f : 1.0f / scale;
    put_half(out, scale);
    if (plain(inverse)) {
      for (int i = 0; i < 32; i += LANES) store_bytes(out + 2 + i, round_away(load<f32v>(x + i) * inverse));
    } else {
      for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)round_away(x[i] * inverse);
    }
  }
}

}  // namespace

Encode encoder_of_32(int format) {
  switch (format) {
    case Q4_0: return encode_signed<8>;
    case Q5_0: return encode_signed<16>;
    case Q4_1: return encode_affine<15>;
    case Q5_1: return encode_affine<31>;
    case Q8_0: return encode_q8_0;
    default: return nullptr;
  }
}
