// The grids of IQ1, IQ2 and IQ3, as ../reference/grids.ts has them: made once, then only read.
#pragma once
#include "encoders.h"

/** A grid in one piece of memory: this, the points' levels, the map of codes, the neighbours. */
struct Grid {
  int32_t size, bits, points, codes;
  INLINE const uint8_t* levels_of(int point) const { return (const uint8_t*)(this + 1) + size * point; }
  INLINE const int32_t* map() const { return (const int32_t*)((const uint8_t*)(this + 1) + size * points); }
  /** How many neighbours a code outside has, then their indices, nearest first. */
  INLINE const uint16_t* neighbours(int place) const { return (const uint16_t*)(map() + codes) + (-1 - place); }
};
