// The "K" formats: as ../reference/blocks256.ts. First all sub-blocks of a row are searched, as many at once as there are lanes;
// then each block rounds the scales it found.
#include "encoders.h"

namespace {

/** What the search found for each sub-block of a row. */
struct Found {
  float *scale, *depth, *inverse, *low, *sum;
  Found(float* room, int64_t count) {
    const int64_t each = (count + 2 * LANES - 1) & -LANES;
    scale = room, depth = scale + each, inverse = depth + each, low = inverse + each, sum = low + each;
  }
};

/** The sum of the lanes' weights, in order. */
template <int size>
INLINE f32v sum_of(const f32v* weights) {
  f32v sum = {};
  for (int i = 0; i < size; i++) sum += weights[i];
  return sum;
}

/** Weights of a group of sub-blocks under importance; `factor` times the mean square of a block counts beside a value's own. */
template <int size>
INLINE void weights_of(const Row& row, int64_t first, int count, const float* sigma2, const f32v* x, f32v* weights) {
  f32v importance[size];
  transpose<size>(row.importance + first * size, count, importance);
  float sigma[LANES];
  for (int lane = 0; lane < LANES; lane++) sigma[lane] = sigma2[(first + (lane < count ? lane : 0)) * size / 256];
  for (int i = 0; i < size; i++) weights[i] = weigh(x[i], importance[i], load<f32v>(sigma));
}

void mean_squares(const Row& row, float factor, float* sigma2) {
  for (int64_t block = 0; block < row.columns / 256; block++)
    sigma2[block] = factor * sum_of_squares(row.x + 256 * block, 256) / 256;
}

template <int size, bool absolute_errors>
void search_affine(const Row& row, const Found& found, float* sigma2, int highest, Search plain) {
  const int64_t subs = row.columns / size;
  if (row.importance) mean_squares(row, size == 16 ? 1.0f : 2.0f, sigma2);
  for (int64_t first = 0; first < subs; first += LANES) {
    const int count = (int)(subs - first < LANES ? subs - first : LANES);
    f32v x[size], weights[size];
    transpose<size>(row.x + first * size, count, x);
    Affine best;
    if (row.importance) {
      weights_of<size>(row, first, count, sigma2, x, weights);
      best = round_affine<size, false>(x, weights, highest, {-0.9f, 0.05f, 36});
    } else {
      const f32v mean = size == 16 ? f32v{} : root(power_of_lane(x, size) / (float)size);
      for (int i = 0; i < size; i++) weights[i] = size == 16 ? absolute(x[i]) : mean + absolute(x[i]);
      best = round_affine<size, absolute_errors>(x, weights, highest, plain);
    }
    store(found.scale + first, best.scale);
    store(found.depth + first, best.depth);
    store(found.inverse + first, best.inverse);
    store(found.low + first, best.low);
    store(found.sum + first, sum_of<size>(weights));
  }
}

/** Levels of a sub-block: where its scale became 0, those the search found. */
INLINE void affine_levels(const float* x, int size, float scale, float depth, float inverse, float low, int highest, uint8_t* out) {
  for (int i = 0; i < size; i += LANES) {
    const f32v value = load<f32v>(x + i);
    const f32v level = scale == 0 ? inverse * (value - low) : (value + depth) / scale;
    store_bytes(out + i, clamped(nearest_whole(level), 0, highest));
  }
}

INLINE float largest(const float* values, int count) {
  float most = 0;
  for (int i = 0; i < count; i++) most = values[i] > most ? values[i] : most;
  return most;
}

/** Scales or depths of a block as whole numbers, and their own scale. */
INLINE float round_scales(const float* values, int count, int highest, const float* sums, uint8_t* levels) {
  if (sums) return round_positive(values, count, highest, levels, sums);
  const float most = largest(values, count), inverse = most > 0 ? (float)highest / most : 0.0f;
  for (int i = 0; i < count; i++) {
    const uint8_t level = (uint8_t)nearest_whole(inverse * values[i]);
    levels[i] = highest == 63 && level > 63 ? 63 : level;
  }
  return most / (float)highest;
}

/** Two bits of each level: byte l of 32 holds values l, l + 32, l + 64 and l + 96, lowest bits first. */
INLINE void put_pairs(const uint8_t* levels, uint8_t* out, int shift) {
  for (int half = 0; half < 2; half++)
    for (int l = 0; l < 32; l++) {
      const uint8_t* at = levels + 128 * half + l;
      out[32 * half + l] = (uint8_t)((at[0] >> shift & 3) | (at[32] >> shift & 3) << 2 | (at[64] >> shift & 3) << 4 | (at[96] >> shift & 3) << 6);
    }
}
/** One bit of each level: byte l of 32, bit ⌊value / 32⌋. */
INLINE void put_bits(const uint8_t* levels, uint8_t* out, int shift) {
  for (int l = 0; l < 32; l++) {
    int byte = 0;
    for (int eighth = 0; eighth < 8; eighth++) byte |= (levels[32 * eighth + l] >> shift & 1) << eighth;
    out[l] = (uint8_t)byte;
  }
}
INLINE void put_nibbles(const uint8_t* levels, uint8_t* out) {
  for (int part = 0; part < 4; part++)
    for (int l = 0; l < 32; l++)
      out[32 * part + l] = (uint8_t)((levels[64 * part + l] & 15) | (levels[64 * part + 32 + l] & 15) << 4);
}

void encode_q2_k(const Row& row) {
  const int64_t subs = row.columns / 16;
  const Found found(row.scratch + row.columns / 256, subs);
  search_affine<16, true>(row, found, row.scratch, 3, {-0.5f, 0.1f, 15});
  for (int64_t block = 0; block < row.columns / 256; block++) {
    uint8_t* const out = row.out + 84 * block;
    const int64_t first = 16 * block;
    const float* const sums = row.importance ? found.sum + first : nullptr;
    uint8_t scales[16], depths[16], levels[256];
    put_half(out + 80, round_scales(found.scale + first, 16, 15, sums, scales));
    put_half(out + 82, round_scales(found.depth + first, 16, 15, sums, depths));
    const float scale = of_half(load<uint16_t>(out + 80)), depth = of_half(load<uint16_t>(out + 82));
    for (int sub = 0; sub < 16; sub++) {
      out[sub] = (uint8_t)(scales[sub] | depths[sub] << 4);
      affine_levels(row.x + 256 * block + 16 * sub, 16, scale * (float)(out[sub] & 15), depth * (float)(out[sub] >> 4),
                    found.inverse[first + sub], found.low[first + sub], 3, levels + 16 * sub);
    }
    put_pairs(levels, out + 16, 0);
  }
}

template <int highest>
void encode_q4_or_q5_k(const Row& row) {
  constexpr int block_bytes = highest == 15 ? 144 : 176;
  const int64_t subs = row.columns / 32;
  const Found found(row.scratch + row.columns / 256, subs);
  search_affine<32, false>(row, found, row.scratch, highest, highest == 15 ? Search{-1.0f, 0.1f, 20} : Search{-0.5f, 0.1f, 15});
  for (int64_t block = 0; block < row.columns / 256; block++) {
    uint8_t* const out = row.out + block_bytes * block;
    const int64_t first = 8 * block;
    const float* const sums = row.importance ? found.sum + first : nullptr;
    uint8_t scales[8], depths[8], levels[256];
    put_half(out, round_scales(found.scale + first, 8, 63, sums, scales));
    put_half(out + 2, round_scales(found.depth + first, 8, 63, sums, depths));
    for (int sub = 0; sub < 4; sub++) {
      out[4 + sub] = (uint8_t)(scales[sub] | scales[sub + 4] >> 4 << 6);
      out[8 + sub] = (uint8_t)(depths[sub] | depths[sub + 4] >> 4 << 6);
      out[12 + sub] = (uint8_t)((scales[sub + 4] & 15) | (depths[sub + 4] & 15) << 4);
    }
    const float scale = of_half(load<uint16_t>(out)), depth = of_half(load<uint16_t>(out + 2));
    for (int sub = 0; sub < 8; sub++)
      affine_levels(row.x + 256 * block + 32 * sub, 32, scale * (float)scales[sub], depth * (float)depths[sub],
                    found.inverse[first + sub], found.low[first + sub], highest, levels + 32 * sub);
    if (highest == 31) put_bits(levels, out + 16, 4);
    put_nibbles(levels, out + block_bytes - 128);
  }
}

/** Levels of a sub-block around 0. `steps` are added. */
INLINE void signed_levels(const float* x, float scale, int steps, uint8_t* out) {
  for (int i = 0; i < 16; i += LANES)
    store_bytes(out + i, clamped(nearest_whole(load<f32v>(x + i) / scale), -steps, steps - 1) + steps);
}
/** The same of what the search found; zeros have level 0. */
INLINE void searched_levels(const float* x, float inverse, int steps, uint8_t* out) {
  for (int i = 0; i < 16; i += LANES)
    store_bytes(out + i, inverse == 0 ? i32v{} : signed_level(splat(inverse), load<f32v>(x + i), steps) + steps);
}

void encode_q3_k(const Row& row) {
  const int64_t subs = row.columns / 16;
  const Found found(row.scratch + row.columns / 256 + row.columns / 4, subs);
  uint8_t* const kept = (uint8_t*)(row.scratch + row.columns / 256);  // levels that the search found
  if (row.importance) mean_squares(row, 2.0f, row.scratch);
  for (int64_t first = 0; first < subs; first += LANES) {
    const int count = (int)(subs - first < LANES ? subs - first : LANES);
    f32v x[16];
    transpose<16>(row.x + first * 16, count, x);
    if (row.importance) {
      f32v weights[16];
      weights_of<16>(row, first, count, row.scratch, x, weights);
      const Signed best = round_signed<16>(x, weights, 4);
      store(found.scale + first, best.scale);
      store(found.inverse + first, best.inverse);
      store(found.sum + first, sum_of<16>(weights));
    } else {
      i32v levels[16];
      store(found.scale + first, round_in_turns<16>(x, 4, levels));
      for (int lane = 0; lane < count; lane++)
        for (int i = 0; i < 16; i++) kept[(first + lane) * 16 + i] = (uint8_t)(levels[i][lane] + 4);
    }
  }
  for (int64_t block = 0; block < row.columns / 256; block++) {
    uint8_t* const out = row.out + 110 * block;
    const float* const scales = found.scale + 16 * block;
    int whole[16];
    if (row.importance) {
      // The same search once more, of one group: lane 0 of sixteen values.
      f32v x[16], weights[16];
      transpose<16>(scales, 1, x);
      transpose<16>(found.sum + 16 * block, 1, weights);
      const Signed best = round_signed<16>(x, weights, 32);
      for (int sub = 0; sub < 16; sub++)
        whole[sub] = best.inverse[0] == 0 ? 0 : signed_level(best.inverse, x[sub], 32)[0] + 32;
      put_half(out + 108, best.scale[0]);
    } else {
      const float most = farthest(scales, 16), inverse = -32.0f / most;
      for (int sub = 0; sub < 16; sub++)
        whole[sub] = most == 0 ? 0 : clamped((int8_t)nearest_whole(inverse * scales[sub]), -32, 31) + 32;
      put_half(out + 108, most == 0 ? 0.0f : 1 / inverse);
    }
    for (int i = 0; i < 8; i++) out[96 + i] = (uint8_t)((whole[i] & 15) | (whole[i + 8] & 15) << 4);
    for (int i = 0; i < 4; i++)
      out[104 + i] = (uint8_t)(whole[i] >> 4 | whole[i + 4] >> 4 << 2 | whole[i + 8] >> 4 << 4 | whole[i + 12] >> 4 << 6);
    const float scale = of_half(load<uint16_t>(out + 108));
    uint8_t levels[256];
    for (int sub = 0; sub < 16; sub++) {
      const float sub_scale = scale * (float)(whole[sub] - 32);
      const int64_t index = 16 * block + sub;
      const float* const x = row.x + 16 * index;
      if (sub_scale != 0) signed_levels(x, sub_scale, 4, levels + 16 * sub);
      else if (row.importance) searched_levels(x, found.inverse[index], 4, levels + 16 * sub);
      else __builtin_memcpy(levels + 16 * sub, kept + 16 * index, 16);
    }
    put_bits(levels, out, 2);
    put_pairs(levels, out + 32, 0);
  }
}

void encode_q6_k(const Row& row) {
  const int64_t subs = row.columns / 16;
  const Found found(row.scratch, subs);
  for (int64_t first = 0; first < subs; first += LANES) {
    const int count = (int)(subs - first < LANES ? subs - first : LANES);
    f32v x[16], weights[16];
    transpose<16>(row.x + first * 16, count, x);
    if (row.importance) transpose<16>(row.importance + first * 16, count, weights);
    else
      for (int i = 0; i < 16; i++) weights[i] = x[i] * x[i];
    const Signed best = round_signed<16>(x, weights, 32);
    store(found.scale + first, best.scale);
    store(found.inverse + first, best.inverse);
  }
  for (int64_t block = 0; block < row.columns / 256; block++) {
    uint8_t* const out = row.out + 210 * block;
    const float* const scales = found.scale + 16 * block;
    const float most = farthest(scales, 16);
    if (size_of(most) < tiny) {
      __builtin_memset(out, 0, 210);
      continue;
    }
    const float inverse = -128.0f / most;
    put_half(out + 208, 1 / inverse);
    const float scale = of_half(load<uint16_t>(out + 208));
    uint8_t levels[256];
    for (int sub = 0; sub < 16; sub++) {
      const int wide = nearest_whole(inverse * scales[sub]);
      const int8_t whole = (int8_t)(wide < 127 ? wide : 127);
      out[192 + sub] = (uint8_t)whole;
      const float sub_scale = scale * (float)whole;
      const float* const x = row.x + 256 * block + 16 * sub;
      if (sub_scale != 0) signed_levels(x, sub_scale, 32, levels + 16 * sub);
      else searched_levels(x, found.inverse[16 * block + sub], 32, levels + 16 * sub);
    }
    for (int half = 0; half < 2; half++)
      for (int l = 0; l < 64; l++)
        out[64 * half + l] = (uint8_t)((levels[128 * half + l] & 15) | (levels[128 * half + 64 + l] & 15) << 4);
    put_pairs(levels, out + 128, 4);
  }
}

}  // namespace

Encode encoder_of_256(int format) {
  switch (format) {
    case Q2_K: return encode_q2_k;
    case Q3_K: return encode_q3_k;
    case Q4_K: return encode_q4_or_q5_k<15>;
    case Q5_K: return encode_q4_or_q5_k<31>;
    case Q6_K: return encode_q6_k;
    default: return nullptr;
  }
}
