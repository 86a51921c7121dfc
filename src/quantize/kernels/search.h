// The searches of ../reference/rounding.ts for as many sub-blocks at once as there are lanes: a lane does to its sub-block, step by
// step, what the scalar form does, so that the bits are the same at any vector width.
#pragma once
#include "single.h"

constexpr float tiny = 1e-15f;

/** Value i of each lane's sub-block: sub-blocks of `size` values lie one behind the other; those past `count` are zeros. */
template <int size>
INLINE void transpose(const float* x, int count, f32v* out) {
  float part[size * LANES];
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < size; i++) part[i * LANES + lane] = lane < count ? x[lane * size + i] : 0.0f;
  for (int i = 0; i < size; i++) out[i] = load<f32v>(part + i * LANES);
}

/** importance · √(sigma2 + x²) */
INLINE f32v weigh(f32v x, f32v importance, f32v sigma2) { return importance * root(sigma2 + x * x); }

INLINE f32v power_of_lane(const f32v* x, int size) {
  f32v sum = {};
  for (int i = 0; i < size; i++) sum += x[i] * x[i];
  return sum;
}

struct Search {
  float from, by;
  int count;
};

/** What a search found; levels are those of `inverse` and `low`: nearest(inverse · (x − low)). */
struct Affine {
  f32v scale, depth, inverse, low;
};

INLINE f32v affine_level(f32v inverse, f32v low, f32v x, int highest) {
  return to_float(clamped(nearest_whole(inverse * (x - low)), 0, highest));
}

template <int size, bool absolute_errors>
INLINE Affine round_affine(const f32v* x, const f32v* weights, int highest, Search search) {
  f32v low = x[0], high = x[0], sum_w = weights[0], sum_x = sum_w * x[0];
  for (int i = 1; i < size; i++) {
    low = lower_to(low, x[i]);
    high = raise_to(high, x[i]);
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  const f32v zero = {};
  low = low > zero ? zero : low;
  const i32v flat = high == low;
  const float top = (float)highest;
  Affine best = {.scale = {}, .depth = {}, .inverse = top / (high - low), .low = low};
  best.scale = 1.0f / best.inverse;
  f32v levels[size];
  const auto error_of = [&](f32v scale, f32v minimum) __attribute__((always_inline)) {
    f32v error = {};
    for (int i = 0; i < size; i++) {
      const f32v difference = scale * levels[i] + minimum - x[i];
      error += weights[i] * (absolute_errors ? absolute(difference) : difference * difference);
    }
    return error;
  };
  for (int i = 0; i < size; i++) levels[i] = affine_level(best.inverse, low, x[i], highest);
  f32v least = error_of(best.scale, low);
  for (int turn = 0; turn <= search.count; turn++) {
    const f32v inverse = (search.from + search.by * (float)turn + top) / (high - low);
    f32v sum_l = {}, sum_l2 = {}, sum_xl = {};
    for (int i = 0; i < size; i++) {
      const f32v level = affine_level(inverse, low, x[i], highest), weighted = weights[i] * level;
      levels[i] = level;
      sum_l += weighted;
      sum_l2 += weighted * level;
      sum_xl += weighted * x[i];
    }
    const f32v determinant = sum_w * sum_l2 - sum_l * sum_l;
    f32v scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    f32v minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    const i32v above = minimum > zero;
    scale = above ? sum_xl / sum_l2 : scale;
    minimum = above ? zero : minimum;
    const f32v error = error_of(scale, minimum);
    const i32v better = (determinant > zero) & (error < least);
    least = better ? error : least;
    best.scale = better ? scale : best.scale;
    best.inverse = better ? inverse : best.inverse;
    best.low = better ? low : best.low;
    low = better ? minimum : low;
  }
  best.scale = flat ? zero : best.scale;
  best.inverse = flat ? zero : best.inverse;
  best.depth = -low;
  return best;
}

/** Steps −steps … steps − 1; levels are those of `inverse`. */
struct Signed {
  f32v scale, inverse;
};

INLINE i32v signed_level(f32v inverse, f32v x, int steps) { return clamped(nearest_whole(inverse * x), -steps, steps - 1); }

template <int size>
INLINE f32v farthest(const f32v* x) {
  f32v most = {}, value = {};
  for (int i = 0; i < size; i++) {
    const i32v more = absolute(x[i]) > most;
    most = more ? absolute(x[i]) : most;
    value = more ? x[i] : value;
  }
  return value;
}

/** A lane of zeros gets scale 0 and inverse 0 (its levels, all 0 and not `steps`, are the caller's to set). */
template <int size>
INLINE Signed round_signed(const f32v* x, const f32v* weights, int steps) {
  const f32v zero = {}, most = farthest<size>(x);
  const i32v empty = absolute(most) < splat(tiny);
  Signed found = {};
  f32v best = {};
  for (int turn = -10; turn <= 9; turn++) {
    if (turn == 0) continue;
    const bool first = turn == -10;
    const f32v inverse = first ? (float)-steps / most : -((float)steps + 0.1f * (float)turn) / most;
    f32v sum_lx = {}, sum_l2 = {};
    for (int i = 0; i < size; i++) {
      const f32v level = to_float(signed_level(inverse, x[i], steps));
      sum_lx += weights[i] * x[i] * level;
      sum_l2 += weights[i] * level * level;
    }
    const i32v better = first ? splat32(-1) : (sum_l2 > zero) & (sum_lx * sum_lx > best * sum_l2);
    const f32v scale = sum_l2 == zero ? zero : sum_lx / sum_l2;
    found.scale = better ? scale : found.scale;
    found.inverse = better ? inverse : found.inverse;
    best = better ? scale * sum_lx : best;
  }
  found.scale = empty ? zero : found.scale;
  found.inverse = empty ? zero : found.inverse;
  return found;
}

/** Levels of −steps … steps − 1, each moved in turn to where the error, weighted by x², is least; a lane of zeros gets −steps. */
template <int size>
INLINE f32v round_in_turns(const f32v* x, int steps, i32v* levels) {
  const f32v zero = {}, most = farthest<size>(x), inverse = (float)-steps / most;
  const i32v empty = absolute(most) < splat(tiny);
  f32v sum_lx = {}, sum_l2 = {};
  for (int i = 0; i < size; i++) {
    levels[i] = signed_level(inverse, x[i], steps);
    const f32v level = to_float(levels[i]), weight = x[i] * x[i];
    sum_lx += weight * x[i] * level;
    sum_l2 += weight * level * level;
  }
  for (int turn = 0; turn < 5; turn++) {
    i32v changed = {};
    for (int i = 0; i < size; i++) {
      const f32v level = to_float(levels[i]), weight = x[i] * x[i];
      const f32v lx = sum_lx - weight * x[i] * level, l2 = sum_l2 - weight * level * level;
      const i32v candidate = signed_level(splat(1.0f), x[i] * l2 / lx, steps);
      const f32v next = to_float(candidate), next_lx = lx + weight * x[i] * next, next_l2 = l2 + weight * next * next;
      const i32v better = (lx > zero) & (candidate != levels[i]) & (next_l2 > zero) &
                          (next_lx * next_lx * sum_l2 > sum_lx * sum_lx * next_l2);
      levels[i] = better ? candidate : levels[i];
      sum_lx = better ? next_lx : sum_lx;
      sum_l2 = better ? next_l2 : sum_l2;
      changed |= better;
    }
    bool any = false;
    for (int i = 0; i < LANES; i++) any |= changed[i] != 0;
    if (!any) break;
  }
  for (int i = 0; i < size; i++) levels[i] = empty ? splat32(-steps) : levels[i];
  return empty | ~(sum_l2 > zero) ? zero : sum_lx / sum_l2;
}

/** One scale for numbers that are not negative, one after the other: sub-block scales are few. Levels 0 … highest. */
inline float round_positive(const float* x, int count, int highest, uint8_t* levels, const float* weights) {
  float most = 0;
  for (int i = 0; i < count; i++) most = x[i] > most ? x[i] : most;
  if (most < tiny) {
    for (int i = 0; i < count; i++) levels[i] = 0;
    return 0;
  }
  float inverse = (float)highest / most, least = 0;
  for (int i = 0; i < count; i++) {
    const float difference = x[i] - 1 / inverse * (float)(uint8_t)nearest_whole(inverse * x[i]);
    least += weights[i] * difference * difference;
  }
  for (int turn = -4; turn <= 4; turn++) {
    if (turn == 0) continue;
    const float candidate = (0.1f * (float)turn + (float)highest) / most, scale = 1 / candidate;
    float error = 0;
    for (int i = 0; i < count; i++) {
      const int level = nearest_whole(candidate * x[i]);
      const float difference = x[i] - scale * (float)(level < highest ? level : highest);
      error += weights[i] * difference * difference;
    }
    if (error < least) {
      least = error;
      inverse = candidate;
    }
  }
  float sum_lx = 0, sum_l2 = 0;
  for (int i = 0; i < count; i++) {
    int level = nearest_whole(inverse * x[i]);
    level = level < highest ? level : highest;
    levels[i] = (uint8_t)level;
    sum_lx += weights[i] * x[i] * (float)level;
    sum_l2 += weights[i] * (float)level * (float)level;
  }
  bool changed = true;
  for (int turn = 0; turn < 5 && changed; turn++) {
    changed = false;
    for (int i = 0; i < count; i++) {
      const float weight = weights[i];
      float lx = sum_lx - weight * x[i] * (float)levels[i], l2 = sum_l2 - weight * (float)levels[i] * (float)levels[i];
      if (!(lx > 0 && l2 > 0)) continue;
      int level = nearest_whole(x[i] * l2 / lx);
      level = level < highest ? level : highest;
      if (level == levels[i]) continue;
      lx += weight * x[i] * (float)level;
      l2 += weight * (float)level * (float)level;
      if (lx * lx * sum_l2 > sum_lx * sum_lx * l2) {
        levels[i] = (uint8_t)level;
        sum_lx = lx;
        sum_l2 = l2;
        changed = true;
      }
    }
  }
  return sum_l2 > 0 ? sum_lx / sum_l2 : 0;
}
