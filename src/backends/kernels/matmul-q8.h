// The two kernels of a quantized product: one row of activations, and many. Their integers are exact and what they do with
// them (`add_block`) is one function, so both give the same bits.
#pragma once
#include "formats.h"

/** 32 activations: scale · q, and the sums of q (of the first 16, the last 16, all), which minimums and offsets need. */
struct Q8Block {
  int8_t q[32];
  float scale, low_sum, high_sum, sum;
};
static_assert(sizeof(Q8Block) == 48);

/** Rows of activations in one product: row `index[i]` of `all` rows, whose blocks are interleaved. */
struct Q8Rows {
  const Q8Block* blocks;
  size_t all;
  const int* index;
  int count;
};

/** Most rows a pass over the weights serves: their part of a block must stay in the first-level cache. */
constexpr int most_rows = 64;

/** What four weight rows' products with 32 activations add to their four results. `dots`: one sum of q · activation per span. */
template <class F>
INLINE f32x4 add_block(f32x4 result, const f32x4* dots, const f32x4* scale, const f32x4* minimum, const Q8Block& x) {
  f32x4 part = scale[0] * dots[0];
  if constexpr (F::spans == 2) {
    part = madd(scale[1], dots[1], part);
    if constexpr (F::minimums) {
      part = nmadd(minimum[0], splat(x.low_sum), part);
      part = nmadd(minimum[1], splat(x.high_sum), part);
    }
  } else if constexpr (F::minimums) {
    part = nmadd(minimum[0], splat(x.sum), part);
  }
  return madd(part, splat(x.scale), result);
}

/** Σ (u − offset) · x = Σ u · x − offset · Σ x. Exact: all are integers below 2²⁴. */
template <int offset>
INLINE f32x4 without_offset(i32x4 dot, float sum) {
  if constexpr (offset == 0) return to_float(dot);
  return nmadd(splat(sum), splat(offset), to_float(dot));
}

/** Largest number of 16-bit dot products with bytes up to `largest` that add up without overflow. */
constexpr int dots_that_fit(int largest) { return 32767 / (2 * 127 * largest); }

// One row of activations: the weights lie along k as they do in the file, and the sums of four rows are added across.

/** For four weight rows: sums of 16 products (per span), or of 32. */
template <class F, int S, bool wide>
INLINE void dots_along(const FourRows& w, size_t at, const int8_t* x, i32x4* dots) {
  const i8x16 low = load<i8x16>(x), high = load<i8x16>(x + 16);
  if constexpr (F::largest == signed_bytes) {
    i32x4 sums[4];
    const i16x8 x0 = widen_low(low), x1 = widen_high(low), x2 = widen_low(high), x3 = widen_high(high);
    for (int r = 0; r < 4; r++) {
      u8x16 a, b;
      F::template quants<S>(w.row[r] + at, a, b);
      sums[r] = (dot2(x0, widen_low((i8x16)a)) + dot2(x1, widen_high((i8x16)a))) +
                (dot2(x2, widen_low((i8x16)b)) + dot2(x3, widen_high((i8x16)b)));
    }
    dots[0] = add_across(sums[0], sums[1], sums[2], sums[3]);
  } else if constexpr (F::spans == 1 && !wide && dots_that_fit(F::largest) >= 8) {
    i16x8 sums[4];
    for (int r = 0; r < 4; r++) {
      u8x16 a, b;
      F::template quants<S>(w.row[r] + at, a, b);
      sums[r] = dot2(low, a) + dot2(high, b);
    }
    dots[0] = add_across(sums[0], sums[1], sums[2], sums[3]);
  } else if constexpr (F::spans == 1) {
    i32x4 sums[4];
    for (int r = 0; r < 4; r++) {
      u8x16 a, b;
      F::template quants<S>(w.row[r] + at, a, b);
      if constexpr (wide || dots_that_fit(F::largest) < 2)
        sums[r] = dot4_add(high, b, dot4_add(low, a, splat32(0)));
      else
        sums[r] = add_pairs(dot2(low, a) + dot2(high, b));
    }
    dots[0] = add_across(sums[0], sums[1], sums[2], sums[3]);
  } else if constexpr (!wide && dots_that_fit(F::largest) >= 4) {
    i16x8 sums_a[4], sums_b[4];
    for (int r = 0; r < 4; r++) {
      u8x16 a, b;
      F::template quants<S>(w.row[r] + at, a, b);
      sums_a[r] = dot2(low, a);
      sums_b[r] = dot2(high, b);
    }
    dots[0] = add_across(sums_a[0], sums_a[1], sums_a[2], sums_a[3]);
    dots[1] = add_across(sums_b[0], sums_b[1], sums_b[2], sums_b[3]);
  } else {
    i32x4 sums_a[4], sums_b[4];
    for (int r = 0; r < 4; r++) {
      u8x16 a, b;
      F::template quants<S>(w.row[r] + at, a, b);
      sums_a[r] = dot4_add(low, a, splat32(0));
      sums_b[r] = dot4_add(high, b, splat32(0));
    }
    dots[0] = add_across(sums_a[0], sums_a[1], sums_a[2], sums_a[3]);
    dots[1] = add_across(sums_b[0], sums_b[1], sums_b[2], sums_b[3]);
  }
}

/** Four weight rows times row x.index[0]. */
template <class F, bool wide>
f32x4 one_row(const FourRows& w, int in, const Q8Rows& x) {
  const Q8Block* block = x.blocks + x.index[0];
  f32x4 result = splat(0);
  const size_t end = (size_t)(in / F::elements) * F::bytes;
  for (size_t at = 0; at < end; at += F::bytes) {
    f32x4 scale[F::elements / 32 * F::spans], minimum[F::elements / 32 * F::spans];
    F::scales(w, at, scale, minimum);
    unroll<F::elements / 32>([&]<int S>() __attribute__((always_inline)) {
      i32x4 sums[F::spans];
      dots_along<F, S, wide>(w, at, block->q, sums);
      f32x4 dots[F::spans];
      if constexpr (F::spans == 1) {
        dots[0] = without_offset<F::offset>(sums[0], block->sum);
      } else {
        dots[0] = without_offset<F::offset>(sums[0], block->low_sum);
        dots[1] = without_offset<F::offset>(sums[1], block->high_sum);
      }
      result = add_block<F>(result, dots, scale + S * F::spans, minimum + S * F::spans, *block);
      block += x.all;
    });
  }
  return result;
}

// Many rows: 4 weight rows × 32 k are turned so that a vector holds 4 k of each of the four rows. Such a tile stays in registers
// while all rows of activations pass, four activations being repeated for the four rows.

/** Tile i is k = 4i … 4i + 3, lanes are rows. */
template <class F, int S>
INLINE void turn(const FourRows& w, size_t at, u32x4* tile) {
  for (int r = 0; r < 4; r++) {
    u8x16 a, b;
    F::template quants<S>(w.row[r] + at, a, b);
    tile[r] = (u32x4)a;
    tile[4 + r] = (u32x4)b;
  }
  transpose(tile[0], tile[1], tile[2], tile[3]);
  transpose(tile[4], tile[5], tile[6], tile[7]);
}

/** Four rows' sums over `count` tiles of bytes up to `largest`. */
template <int largest, bool wide, int count>
INLINE i32x4 dots_across(const int8_t* x, const u8x16* tile) {
  i32x4 sum = splat32(0);
  if constexpr (wide || dots_that_fit(largest) < 2) {
    for (int i = 0; i < count; i++) sum = dot4_add(load32_splat(x + 4 * i), tile[i], sum);
  } else {
    constexpr int group = dots_that_fit(largest) < count ? dots_that_fit(largest) : count;
    for (int i = 0; i < count; i += group) {
      i16x8 part = dot2(load32_splat(x + 4 * i), tile[i]);
      for (int j = i + 1; j < i + group && j < count; j++) part += dot2(load32_splat(x + 4 * j), tile[j]);
      sum = i == 0 ? add_pairs(part) : sum + add_pairs(part);
    }
  }
  return sum;
}

/** Four weight rows times x.count ≤ most_rows rows: results[i] of row x.index[i]. */
template <class F, bool wide>
void many_rows(const FourRows& w, int in, const Q8Rows& x, f32x4* results) {
  const Q8Block* blocks = x.blocks;
  for (int i = 0; i < x.count; i++) results[i] = splat(0);
  const size_t end = (size_t)(in / F::elements) * F::bytes;
  for (size_t at = 0; at < end; at += F::bytes) {
    f32x4 scales[F::elements / 32 * F::spans], minimums[F::elements / 32 * F::spans];
    F::scales(w, at, scales, minimums);
    unroll<F::elements / 32>([&]<int S>() __attribute__((always_inline)) {
      u32x4 tile[8];
      turn<F, S>(w, at, tile);
      f32x4 scale[F::spans], minimum[F::spans];
      for (int s = 0; s < F::spans; s++) {
        scale[s] = scales[S * F::spans + s];
        if constexpr (F::minimums) minimum[s] = minimums[S * F::spans + s];
      }
      if constexpr (F::largest == signed_bytes) {
        // Any byte is 16 · upper − 128 + lower with both parts in 0 … 15: two dot products, exact for −128 too.
        u8x16 upper[8], lower[8];
        for (int i = 0; i < 8; i++) {
          const u8x16 byte = (u8x16)tile[i] ^ 128;
          upper[i] = byte >> 4;
          lower[i] = byte & 15;
        }
        for (int i = 0; i < x.count; i++) {
          const Q8Block& block = blocks[x.index[i]];
          const i32x4 sum =
              (dots_across<15, wide, 8>(block.q, upper) << 4) + dots_across<15, wide, 8>(block.q, lower);
          const f32x4 dots = without_offset<128>(sum, block.sum);
          results[i] = add_block<F>(results[i], &dots, scale, minimum, block);
        }
      } else {
        u8x16 bytes[8];
        for (int i = 0; i < 8; i++) bytes[i] = (u8x16)tile[i];
        for (int i = 0; i < x.count; i++) {
          const Q8Block& block = blocks[x.index[i]];
          f32x4 dots[F::spans];
          if constexpr (F::spans == 1) {
            dots[0] = without_offset<F::offset>(dots_across<F::largest, wide, 8>(block.q, bytes), block.sum);
          } else {
            dots[0] = without_offset<F::offset>(dots_across<F::largest, wide, 4>(block.q, bytes), block.low_sum);
            dots[1] = without_offset<F::offset>(dots_across<F::largest, wide, 4>(block.q + 16, bytes + 4), block.high_sum);
          }
          results[i] = add_block<F>(results[i], dots, scale, minimum, block);
        }
      }
      blocks += x.all;
    });
  }
}
