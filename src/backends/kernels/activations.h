// Rows of activations, rounded in blocks of 32 with a scale each.
#pragma once
#include "simd.h"

/**
 * Thirty-two activations: scale · q; one digit is 8 bits. Two digits are 16: scale · (256 · q[0] + q[1]). Blocks of all rows are
 * interleaved: first block 0 of every row, then block 1.
 */
template <int digits>
struct Rounded {
  int8_t q[digits][32];
  float scale;     
  float scaled_sum;  // Σ of the activations as rounded
  int32_t sum;       // of the integers
  int32_t low_sum;   // of the first sixteen
};
static_assert(sizeof(Rounded<1>) == 48 && sizeof(Rounded<2>) == 80);

/** Rounds 32 numbers. The largest becomes 127, or 127 · 256; a block with an infinity or NaN makes every product with it NaN. */
template <int digits>
INLINE void round_block(const float* x, Rounded<digits>& block) {
  typedef int8_t Bytes __attribute__((vector_size(LANES)));
  // With two digits 127 · 256 is the most that a signed high digit leaves room for, whatever the low one is.
  constexpr float limit = digits == 1 ? 127 : 127 * 256;
  constexpr int vectors = 32 / lanes;
  f32v values[vectors], most = {};
  i32v finite = splat32(-1);
  for (int i = 0; i < vectors; i++) {
    values[i] = load<f32v>(x + lanes * i);
    most = raise_to(most, absolute(values[i]));
    finite &= (i32v)(absolute(values[i]) <= 3.4028235e38f);
  }
  block = {};
  const float largest = largest_lane(most);
  if (add_lanes(finite) != -lanes) {
    block.scale = block.scaled_sum = __builtin_nanf("");
    return;
  }
  if (largest < 1e-33f) return; // limit / largest must be finite, and so little adds nothing
  block.scale = largest / limit;
  const f32v inverse = splat(limit / largest);
  i32v sums[2] = {};
  for (int i = 0; i < vectors; i++) {
    const i32v q = round_to_int(values[i] * inverse);
    sums[lanes * i / 16] += q;
    const i32v high = (q + 128) >> 8;
    if constexpr (digits == 2) store(block.q[1] + lanes * i, __builtin_convertvector(q - (high << 8), Bytes));
    store(block.q[0] + lanes * i, __builtin_convertvector(digits == 2 ? high : q, Bytes));
  }
  block.low_sum = add_lanes(sums[0]);
  block.sum = block.low_sum + add_lanes(sums[1]);
  block.scaled_sum = block.scale * (float)block.sum;
}
