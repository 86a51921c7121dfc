// The grids of IQ1, IQ2 and IQ3, as ../reference/grids.ts has them: made once, then only read.
#pragma once
#include "encoders.h"

/** A grid in one piece of memory: this, the map of codes, the codes of points and of neighbours. */
struct Grid {
  int32_t size, bits, points, codes;
  /** For each code its point's index, or −1 − where its neighbours are. */
  INLINE const int32_t* map() const { return (const int32_t*)(this + 1); }
  INLINE const uint16_t* code_of_points() const { return (const uint16_t*)(map() + codes); }
  /** How many neighbours a code outside has, then their codes, nearest first. */
  INLINE const uint16_t* neighbours(int place) const { return code_of_points() + points + (-1 - place); }
};

/**
 * The code among neighbours with the least Σ weight · (value − x)², the first of equals; a neighbour a lane. `value_of(levels)` are a
 * level's values.
 */
template <int size, int bits, class ValueOf>
INLINE int nearest_neighbour(const uint16_t* near, const float* x, const float* weights, ValueOf value_of) {
  const int count = near[0];
  int best = near[1];
  float least = __builtin_inff();
  for (int from = 0; from < count; from += LANES) {
    const i32v codes = __builtin_convertvector(load<u16h>(near + 1 + from), i32v);
    f32v error = {};
    for (int i = 0; i < size; i++) {
      const f32v difference = value_of(codes >> bits * i & ((1 << bits) - 1)) - x[i];
      error += weights[i] * difference * difference;
    }
    float errors[LANES];
    store(errors, error);
    const int end = count - from < LANES ? count - from : LANES;
    for (int lane = 0; lane < end; lane++)
      if (errors[lane] < least) {
        least = errors[lane];
        best = near[1 + from + lane];
      }
  }
  return best;
}
