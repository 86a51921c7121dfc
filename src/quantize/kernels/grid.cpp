// Sizes on a grid beside their signs: as ../reference/blocks-grid.ts.
#include "grids.h"

namespace {

/** How a format searches: see the table of ../reference/blocks-grid.ts. */
struct Rules {
  int sub;
  bool even_signs;
  float sigma, plain, least;
  int tries;
  float by;
  bool all, fit;
};
constexpr Rules rules_iq2_xxs = {32, true, 1, 0, tiny, 6, 0.1f, true, true};
constexpr Rules rules_iq2_xs = {16, true, 1, 0, tiny, 9, 0.1f, false, false};
constexpr Rules rules_iq2_s = {16, false, 2, 0.25f, 1e-8f, 9, 0.1f, false, false};
constexpr Rules rules_iq3_xxs = {32, true, 2, 0, 1e-8f, 15, 0.2f, false, false};
constexpr Rules rules_iq3_s = {32, false, 2, 0, 0, 9, 0.2f, true, false};

struct Found {
  float scale;
  uint16_t points[8];
  uint8_t signs[4];
};

template <int size, int bits>
INLINE int code_of(const uint8_t* levels) {
  int code = 0;
  for (int i = 0; i < size; i++) code |= levels[i] << bits * i;
  return code & ((1 << size * bits) - 1);
}

template <int size, int bits>
INLINE void best_neighbour(const Grid& grid, int place, const float* x, const float* roots, float scale, uint8_t* levels) {
  const auto value_of = [&](i32v level) __attribute__((always_inline)) { return scale * to_float(2 * level + 1); };
  const int best = nearest_neighbour<size, bits>(grid.neighbours(place), x, roots, value_of);
  for (int i = 0; i < size; i++) levels[i] = (uint8_t)(best >> bits * i & ((1 << bits) - 1));
}

/** Sizes and signs; where only even numbers of minuses can be stored the least important value turns. */
INLINE void take_signs(const float* x, const float* weights, int count, bool even, float* sizes, uint8_t* signs) {
  for (int group = 0; group < count / 8; group++) {
    int bits = 0, minuses = 0;
    for (int i = 8 * group; i < 8 * group + 8; i++) {
      const bool minus = !(x[i] >= 0);
      sizes[i] = minus ? -x[i] : x[i];
      bits |= minus << (i - 8 * group);
      minuses += minus;
    }
    if (even && minuses % 2 == 1) {
      int least = 8 * group;
      for (int i = least + 1; i < 8 * group + 8; i++)
        if (weights[i] * x[i] * x[i] < weights[least] * x[least] * x[least]) least = i;
      sizes[least] = -sizes[least];
      bits ^= 1 << (least - 8 * group);
    }
    signs[group] = (uint8_t)(even ? bits & 127 : bits);
  }
}

template <int size, int bits>
INLINE Found round_to_grid(const float* x, const float* weights, const Rules& rules, const Grid& grid) {
  constexpr int most = bits == 3 ? 8 : 3;
  const int sub = rules.sub, groups = sub / size;
  float roots[32], sizes[32];
  for (int i = 0; i < sub; i++) roots[i] = root(weights[i]);
  Found found = {};
  take_signs(x, weights, sub, rules.even_signs, sizes, found.signs);
  float largest = sizes[0];
  for (int i = 1; i < sub; i++) largest = sizes[i] > largest ? sizes[i] : largest;
  if (largest < rules.least || largest == 0) return {};
  uint8_t levels[32] = {};
  float top = largest, scale = largest / (2 * most - 1);
  if (rules.fit) {
    scale = round_positive(sizes, sub, most + 1, levels, weights);
    top = scale * most;
    if (top <= 0) return {};
  }
  const int32_t* const map = grid.map();
  const auto settle = [&](float inverse, float with_scale, int group, uint8_t* into) __attribute__((always_inline)) {
    const float* const at = sizes + group * size;
    uint8_t* const level = into + group * size;
    for (int i = 0; i < size; i++) level[i] = (uint8_t)clamped(nearest_whole(0.5f * (inverse * at[i] - 1)), 0, most - 1);
    const int place = map[code_of<size, bits>(level)];
    if (place < 0) best_neighbour<size, bits>(grid, place, at, roots + group * size, with_scale, level);
    return place >= 0;
  };
  const auto sum = [&](const uint8_t* of, float* qx, float* q2) __attribute__((always_inline)) {
    *qx = *q2 = 0;
    for (int i = 0; i < sub; i++) {
      const float q = (float)(2 * of[i] + 1);
      *qx += weights[i] * sizes[i] * q;
      *q2 += weights[i] * q * q;
    }
  };
  float best = 0, qx, q2;
  uint32_t on_grid = rules.all ? 0 : (1u << groups) - 1;  // a bit a group
  for (int turn = -rules.tries; turn <= rules.tries; turn++) {
    const float inverse = ((float)(2 * most - 1) + (float)turn * rules.by) / top;
    uint8_t candidate[32];
    uint32_t there = 0;
    for (int group = 0; group < groups; group++) there |= (uint32_t)settle(inverse, 1 / inverse, group, candidate) << group;
    sum(candidate, &qx, &q2);
    if (q2 > 0 && qx * qx > best * q2) {
      scale = qx / q2;
      best = scale * qx;
      for (int i = 0; i < sub; i++) levels[i] = candidate[i];
      on_grid = there;
    }
  }
  if ((rules.fit || on_grid != (1u << groups) - 1) && scale > 0) {
    const float inverse = 1 / scale;
    for (int group = 0; group < groups; group++)
      if (rules.all || !(on_grid >> group & 1)) settle(inverse, scale, group, levels);
    sum(levels, &qx, &q2);
    if (q2 > 0) scale = qx / q2;
  }
  if (scale < 0) {
    scale = -scale;
    for (int i = 0; i < sub / 8; i++) found.signs[i] = (uint8_t)(~found.signs[i] & (rules.even_signs ? 127 : 255));
  }
  for (int group = 0; group < groups; group++) {
    const int place = map[code_of<size, bits>(levels + group * size)];
    found.points[group] = (uint16_t)(place >= 0 ? place : map[grid.neighbours(place)[1]]);
  }
  found.scale = scale;
  return found;
}

/** Every sub-block of a block. Returns the largest scale. */
template <int size, int bits>
INLINE float round_block(const float* x, const float* importance, const Rules& rules, const Grid& grid, Found* found) {
  const float sigma2 = rules.sigma * sum_of_squares(x, 256) / 256;
  float most = 0;
  for (int sub = 0; sub < 256 / rules.sub; sub++) {
    const float* const part = x + rules.sub * sub;
    float weights[32];
    for (int i = 0; i < rules.sub; i++)
      weights[i] = importance ? importance[rules.sub * sub + i] * root(sigma2 + part[i] * part[i])
                              : rules.plain * sigma2 + part[i] * part[i];
    found[sub] = round_to_grid<size, bits>(part, weights, rules, grid);
    most = found[sub].scale > most ? found[sub].scale : most;
  }
  return most;
}

INLINE int level_of(float scale, float most) {
  return most == 0 ? 0 : clamped(nearest_whole(0.5f * (1 / (most / 31) * scale - 1)), 0, 15);
}
/** Four times seven signs, and a scale above them. */
INLINE uint32_t signs_and_scale(const uint8_t* signs, int level) {
  return signs[0] | (uint32_t)signs[1] << 7 | (uint32_t)signs[2] << 14 | (uint32_t)signs[3] << 21 | (uint32_t)level << 28;
}

template <int size, int bits, class Put>
INLINE void encode(const Row& row, const Rules& rules, int block_bytes, float fudge, bool keep_zeros, Put put) {
  for (int64_t block = 0; block < row.columns / 256; block++) {
    uint8_t* const out = row.out + block_bytes * block;
    __builtin_memset(out, 0, (size_t)block_bytes);
    Found found[16];
    const float* const importance = row.importance ? row.importance + 256 * block : nullptr;
    const float most = round_block<size, bits>(row.x + 256 * block, importance, rules, *(const Grid*)row.grid, found);
    if (most == 0 && !keep_zeros) continue;
    put_half(out, most / 31 * fudge);
    for (int sub = 0; sub < 256 / rules.sub; sub++) put(out, sub, found[sub], level_of(found[sub].scale, most));
  }
}

void encode_iq2_xxs(const Row& row) {
  encode<8, 2>(row, rules_iq2_xxs, 66, 1, false, [](uint8_t* out, int sub, const Found& found, int level) {
    for (int k = 0; k < 4; k++) out[2 + 8 * sub + k] = (uint8_t)found.points[k];
    store(out + 6 + 8 * sub, signs_and_scale(found.signs, level));
  });
}
void encode_iq2_xs(const Row& row) {
  encode<8, 2>(row, rules_iq2_xs, 74, 1, false, [](uint8_t* out, int sub, const Found& found, int level) {
    for (int k = 0; k < 2; k++) store(out + 2 + 2 * (2 * sub + k), (uint16_t)(found.points[k] | found.signs[k] << 9));
    out[66 + sub / 2] |= (uint8_t)(level << 4 * (sub & 1));
  });
}
void encode_iq2_s(const Row& row) {
  encode<8, 2>(row, rules_iq2_s, 82, 0.9875f, true, [](uint8_t* out, int sub, const Found& found, int level) {
    for (int k = 0; k < 2; k++) {
      const int l = 2 * sub + k;
      out[2 + l] = (uint8_t)found.points[k];
      out[34 + l] = found.signs[k];
      out[66 + l / 4] |= (uint8_t)(found.points[k] >> 8 << 2 * (l & 3));
    }
    out[74 + sub / 2] |= (uint8_t)(level << 4 * (sub & 1));
  });
}
void encode_iq3_xxs(const Row& row) {
  encode<4, 3>(row, rules_iq3_xxs, 98, 1.0125f, false, [](uint8_t* out, int sub, const Found& found, int level) {
    for (int k = 0; k < 8; k++) out[2 + 8 * sub + k] = (uint8_t)found.points[k];
    store(out + 66 + 4 * sub, signs_and_scale(found.signs, level));
  });
}
void encode_iq3_s(const Row& row) {
  encode<4, 3>(row, rules_iq3_s, 110, 1.033f, true, [](uint8_t* out, int sub, const Found& found, int level) {
    for (int k = 0; k < 8; k++) {
      out[2 + 8 * sub + k] = (uint8_t)found.points[k];
      out[66 + sub] |= (uint8_t)(found.points[k] >> 8 << k);
    }
    __builtin_memcpy(out + 74 + 4 * sub, found.signs, 4);
    out[106 + sub / 2] |= (uint8_t)(level << 4 * (sub & 1));
  });
}

}  // namespace

Encode encoder_of_grid(int format) {
  switch (format) {
    case IQ2_XXS: return encode_iq2_xxs;
    case IQ2_XS: return encode_iq2_xs;
    case IQ2_S: return encode_iq2_s;
    case IQ3_XXS: return encode_iq3_xxs;
    case IQ3_S: return encode_iq3_s;
    default: return nullptr;
  }
}
