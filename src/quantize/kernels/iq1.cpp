// −1, 0 and 1 on a grid, shifted by ⅛ up or down: as ../reference/blocks-iq1.ts.
#include "grids.h"

namespace {

/** What the levels 0, 1 and 2 stand for, shifted up and down. */
constexpr float values[2][3] = {{-0.875f, 0.125f, 1.125f}, {-1.125f, -0.125f, 0.875f}};

struct Found {
  float scale;
  uint16_t points[4];
  /** Of each eight values: 1 where shifted down. */
  uint8_t down[4];
  bool some;
};

struct Parting {
  int one, two;
  float scale;
  uint8_t down[4];
};

constexpr float lowest = -3.40282346638528859812e38f;

/** Indices of the values, ascending; equals stay in order. */
template <int count>
INLINE void in_order(const float* x, int* order) {
  for (int i = 0; i < count; i++) {
    int at = i;
    for (; at > 0 && x[order[at - 1]] > x[i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
}

/** One shift for all 32 values. */
bool part_whole(const float* x, const float* weights, const int* order, Parting* best) {
  float sx[33] = {}, sw[33] = {}, score = lowest;
  for (int j = 0; j < 32; j++) {
    sx[j + 1] = sx[j] + weights[order[j]] * x[order[j]];
    sw[j + 1] = sw[j] + weights[order[j]];
  }
  bool any = false;
  for (int one = 0; one <= 32; one++)
    for (int two = one; two <= 32; two++)
      for (int down = 0; down < 2; down++) {
        const float* const v = values[down];
        const float qx = (sx[one] - sx[0]) * v[0] + (sx[two] - sx[one]) * v[1] + (sx[32] - sx[two]) * v[2];
        const float q2 = (sw[one] - sw[0]) * v[0] * v[0] + (sw[two] - sw[one]) * v[1] * v[1] + (sw[32] - sw[two]) * v[2] * v[2];
        if (q2 > 0 && qx * qx > score * q2) {
          const uint8_t d = (uint8_t)down;
          *best = {one, two, qx / q2, {d, d, d, d}};
          score = best->scale * qx;
          any = true;
        }
      }
  return any;
}

/** A shift for each half of sixteen values. */
bool part_halves(const float* x, const float* weights, const int* order, Parting* best) {
  float sx[2][17] = {}, sw[2][17] = {}, score = lowest;
  for (int j = 0; j < 16; j++) {
    const int i = order[j], mine = i >= 8;
    for (int half = 0; half < 2; half++) {
      sx[half][j + 1] = half == mine ? sx[half][j] + weights[i] * x[i] : sx[half][j];
      sw[half][j + 1] = half == mine ? sw[half][j] + weights[i] : sw[half][j];
    }
  }
  bool any = false;
  for (int one = 0; one <= 16; one++)
    for (int two = one; two <= 16; two++) {
      float x_of[2][2], w_of[2][2];
      for (int half = 0; half < 2; half++)
        for (int down = 0; down < 2; down++) {
          const float* const v = values[down];
          const float *const px = sx[half], *const pw = sw[half];
          x_of[half][down] = px[16] * v[2] - (px[one] + px[two]);
          w_of[half][down] = pw[16] * v[2] * v[2] + pw[one] * (v[0] * v[0] - v[1] * v[1]) + pw[two] * (v[1] * v[1] - v[2] * v[2]);
        }
      for (int k = 0; k < 4; k++) {
        const float qx = x_of[0][k >> 1] + x_of[1][k & 1], q2 = w_of[0][k >> 1] + w_of[1][k & 1];
        if (q2 > 0 && qx * qx > score * q2) {
          *best = {one, two, qx / q2, {(uint8_t)(k >> 1), (uint8_t)(k & 1), 0, 0}};
          score = best->scale * qx;
          any = true;
        }
      }
    }
  return any;
}

INLINE int best_neighbour(const Grid& grid, int place, const float* x, const float* weights, float scale, const float* v) {
  // The three values are one apart, exactly.
  const auto value_of = [&](i32v level) __attribute__((always_inline)) { return scale * (to_float(level) + v[0]); };
  return grid.map()[nearest_neighbour<8, 2>(grid.neighbours(place), x, weights, value_of)];
}
/** A point's level of value j. */
INLINE int level_at(const Grid& grid, int point, int j) { return grid.code_of_points()[point] >> 2 * j & 3; }

template <int count>
Found round_to_grid(const float* x, const float* weights, float least, const Grid& grid) {
  if (largest_size(x, count) < least) return {};
  int order[count];
  in_order<count>(x, order);
  Parting parting = {};
  if (!(count == 32 ? part_whole : part_halves)(x, weights, order, &parting)) return {};
  uint8_t levels[count];
  for (int j = 0; j < count; j++) levels[order[j]] = (uint8_t)(j < parting.one ? 0 : j < parting.two ? 1 : 2);
  Found found = {.scale = parting.scale, .points = {}, .down = {}, .some = true};
  const bool turned = found.scale < 0;
  if (turned) {
    for (int j = 0; j < count; j++) levels[j] = (uint8_t)(2 - levels[j]);
    found.scale = -found.scale;
  }
  bool on_grid = true;
  for (int k = 0; k < count / 8; k++) {
    found.down[k] = parting.down[k] ^ (turned ? 1 : 0);
    int code = 0;
    for (int j = 0; j < 8; j++) code |= levels[8 * k + j] << 2 * j;
    const int place = grid.map()[code];
    on_grid &= place >= 0;
    found.points[k] =
        (uint16_t)(place >= 0 ? place : best_neighbour(grid, place, x + 8 * k, weights + 8 * k, found.scale, values[found.down[k]]));
  }
  if (!on_grid) {
    float qx = 0, q2 = 0;
    for (int i = 0; i < count; i++) {
      const float q = values[found.down[i / 8]][level_at(grid, found.points[i / 8], i % 8)];
      qx += weights[i] * q * x[i];
      q2 += weights[i] * q * q;
    }
    if (qx > 0 && q2 > 0) found.scale = qx / q2;
  }
  return found;
}

INLINE int level_of(float inverse, float scale) { return clamped(nearest_whole(0.5f * (inverse * scale - 1)), 0, 7); }

/** Importance times √(sigma2 + x²) of a block, or x² without. */
INLINE void block_weights(const Row& row, int64_t block, float* weights) {
  const float* const x = row.x + 256 * block;
  const float sigma2 = 2 * sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; i++)
    weights[i] = row.importance ? row.importance[256 * block + i] * root(sigma2 + x[i] * x[i]) : x[i] * x[i];
}

void encode_iq1_s(const Row& row) {
  const Grid& grid = *(const Grid*)row.grid;
  for (int64_t block = 0; block < row.columns / 256; block++) {
    const float* const x = row.x + 256 * block;
    uint8_t* const out = row.out + 50 * block;
    __builtin_memset(out, 0, 50);
    float weights[256], most = 0;
    block_weights(row, block, weights);
    Found found[8];
    for (int sub = 0; sub < 8; sub++) {
      found[sub] = round_to_grid<32>(x + 32 * sub, weights + 32 * sub, 1e-12f, grid);
      most = found[sub].scale > most ? found[sub].scale : most;
    }
    const float scale = most / 15, inverse = 1 / scale;
    for (int sub = 0; sub < 8; sub++) {
      int word = 0;
      for (int k = 0; k < 4; k++) {
        out[2 + 4 * sub + k] = (uint8_t)found[sub].points[k];
        word |= found[sub].points[k] >> 8 << 3 * k;
      }
      if (most != 0) word |= (level_of(inverse, found[sub].scale) | found[sub].down[0] << 3) << 12;
      store(out + 34 + 2 * sub, (uint16_t)word);
    }
    if (most != 0) put_half(out, scale * 1.125f);
  }
}

void encode_iq1_m(const Row& row) {
  const Grid& grid = *(const Grid*)row.grid;
  for (int64_t block = 0; block < row.columns / 256; block++) {
    const float* const x = row.x + 256 * block;
    uint8_t* const out = row.out + 56 * block;
    __builtin_memset(out, 0, 56);
    float weights[256], most = 0;
    block_weights(row, block, weights);
    Found found[16];
    for (int sub = 0; sub < 16; sub++) {
      found[sub] = round_to_grid<16>(x + 16 * sub, weights + 16 * sub, 1e-7f, grid);
      most = found[sub].scale > most ? found[sub].scale : most;
      for (int k = 0; k < 2; k++) {
        out[2 * sub + k] = (uint8_t)found[sub].points[k];
        out[32 + sub] |= (uint8_t)(found[sub].points[k] >> 8 << 4 * k);
      }
    }
    if (most == 0) continue;
    const float inverse = 1 / (most / 15);
    int words[4] = {};
    float qx = 0, q2 = 0;
    for (int sub = 0; sub < 16; sub++) {
      const int level = level_of(inverse, found[sub].scale);
      words[sub / 4] |= level << 3 * (sub & 3);
      for (int k = 0; k < 2; k++) {
        out[32 + sub] |= (uint8_t)(found[sub].down[k] << (3 + 4 * k));
        for (int j = 0; j < 8; j++) {
          const int i = 16 * sub + 8 * k + j;
          const float q = values[found[sub].down[k]][level_at(grid, found[sub].points[k], j)] * (float)(2 * level + 1);
          qx += weights[i] * q * x[i];
          q2 += weights[i] * q * q;
        }
      }
    }
    const uint16_t half = half_of((q2 > 0 ? qx / q2 : most / 15) * 1.1125f);
    for (int i = 0; i < 4; i++) store(out + 48 + 2 * i, (uint16_t)(words[i] | (half >> 4 * i & 15) << 12));
  }
}

}  // namespace

Encode encoder_of_iq1(int format) {
  switch (format) {
    case IQ1_S: return encode_iq1_s;
    case IQ1_M: return encode_iq1_m;
    default: return nullptr;
  }
}
