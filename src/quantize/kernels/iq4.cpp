// Nibbles that index sixteen uneven values: as ../reference/blocks-iq4.ts.
#include "encoders.h"
#include "formats-tables.h"

namespace {

/** Midway between value i and the next: from there on the upper one is nearer. (All are exact.) */
constexpr float middle(int i) { return (float)(iq4_values[i] + iq4_values[i + 1]) / 2; }

/** The nearest of the values; the last one for NaN. */
INLINE f32v nearest_value(f32v x) {
  f32v value = splat((float)iq4_values[0]);
  for (int i = 0; i < 15; i++) {
    const f32v step = splat((float)(iq4_values[i + 1] - iq4_values[i]));
    value += (f32v)((i32v)step & ~(i32v)(x < middle(i)));
  }
  return value;
}
INLINE i32v nearest_index(f32v x) {
  i32v index = splat32(15);
  for (int i = 0; i < 15; i++) index += x < middle(i);  // a mask is −1
  return index;
}

/** The scale of each lane's 32 values. */
INLINE f32v scale_of(const f32v* x, const f32v* weights) {
  const f32v zero = {}, most = farthest<32>(x);
  const i32v empty = absolute(most) < splat(tiny);
  f32v scale = {}, best = {};
  for (int turn = -8; turn <= 7; turn++) {
    const bool first = turn == -8;
    const f32v inverse = first ? 1.0f / (-most / (float)iq4_values[0]) : (float)(turn + iq4_values[0]) / most;
    f32v sum_qx = {}, sum_q2 = {};
    for (int i = 0; i < 32; i++) {
      const f32v value = nearest_value(inverse * x[i]), weighted = weights[i] * value;
      sum_qx += weighted * x[i];
      sum_q2 += weighted * value;
    }
    const i32v some = sum_q2 > zero;
    const i32v better = first ? splat32(-1) : some & (sum_qx * sum_qx > best * sum_q2);
    const f32v candidate = some ? sum_qx / sum_q2 : zero;
    scale = better ? candidate : scale;
    best = better ? candidate * sum_qx : best;
  }
  return empty ? zero : scale;
}

/** Scales of all sub-blocks of a row, whose mean squares are taken over blocks of `block` values. */
void find_scales(const Row& row, int block, float* scales, float* sigma2) {
  const int64_t subs = row.columns / 32;
  for (int64_t i = 0; i < row.columns / block; i++)
    sigma2[i] = sum_of_squares(row.x + block * i, block) * (2.0f / (float)block);
  for (int64_t first = 0; first < subs; first += LANES) {
    const int count = (int)(subs - first < LANES ? subs - first : LANES);
    f32v x[32], weights[32];
    transpose<32>(row.x + 32 * first, count, x);
    if (row.importance) {
      transpose<32>(row.importance + 32 * first, count, weights);
      float sigma[LANES];
      for (int lane = 0; lane < LANES; lane++) sigma[lane] = sigma2[(first + (lane < count ? lane : 0)) * 32 / block];
      for (int i = 0; i < 32; i++) weights[i] = weigh(x[i], weights[i], load<f32v>(sigma));
    } else {
      for (int i = 0; i < 32; i++) weights[i] = x[i] * x[i];
    }
    store(scales + first, scale_of(x, weights));
  }
}

INLINE void put_nibbles(const float* x, float scale, uint8_t* out) {
  const float inverse = scale == 0 ? 0.0f : 1.0f / scale;
  uint8_t levels[32];
  for (int i = 0; i < 32; i += LANES) store_bytes(levels + i, nearest_index(inverse * load<f32v>(x + i)));
  for (int j = 0; j < 16; j++) out[j] = (uint8_t)(levels[j] | levels[j + 16] << 4);
}

void encode_iq4_nl(const Row& row) {
  const int64_t blocks = row.columns / 32;
  float* const scales = row.scratch + blocks;
  find_scales(row, 32, scales, row.scratch);
  for (int64_t block = 0; block < blocks; block++) {
    uint8_t* const out = row.out + 18 * block;
    put_half(out, scales[block]);
    put_nibbles(row.x + 32 * block, scales[block], out + 2);
  }
}

void encode_iq4_xs(const Row& row) {
  const int64_t blocks = row.columns / 256;
  float* const all = row.scratch + blocks;
  find_scales(row, 256, all, row.scratch);
  for (int64_t block = 0; block < blocks; block++) {
    uint8_t* const out = row.out + 136 * block;
    const float* const scales = all + 8 * block;
    const float scale = -farthest(scales, 8) / 32, inverse = scale == 0 ? 0.0f : 1.0f / scale;
    put_half(out, scale);
    int high = 0;
    for (int sub = 0; sub < 8; sub++) {
      const int level = clamped(nearest_whole(inverse * scales[sub]), -32, 31);
      put_nibbles(row.x + 256 * block + 32 * sub, scale * (float)level, out + 8 + 16 * sub);
      const int low = (level + 32) & 15;
      out[4 + sub / 2] = (uint8_t)(sub % 2 == 0 ? low : out[4 + sub / 2] | low << 4);
      high |= (level + 32) >> 4 << 2 * sub;
    }
    store(out + 2, (uint16_t)high);
  }
}

}  // namespace

Encode encoder_of_iq4(int format) {
  switch (format) {
    case IQ4_NL: return encode_iq4_nl;
    case IQ4_XS: return encode_iq4_xs;
    default: return nullptr;
  }
}
