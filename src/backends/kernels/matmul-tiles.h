// The two kernels of a quantized product: one row of activations, and many. Both take a tile of sixteen weight rows apart block by
// block, lanes being rows, and do the same with every block of activations, so both give the same bits.
#pragma once
#include "activations.h"
#include "formats.h"
#include "matmul-blocks.h"
#include "matmul-checked.h"

/** A part's numbers as this machine's dot product wants them. */
template <class F, int digits, Dot form>
struct Operand {
  // Only some machines multiply bytes above 127. Elsewhere weights lend their signs to the activations, which must not be −128 then, as a
  // second digit may be,
  static constexpr bool signs = F::largest > 127 && form == Dot::pairs && can_turn_signs && digits == 1;
  // or are split into seven bits and the eighth.
  static constexpr bool split = F::largest > 127 && (form == Dot::pairs || form == Dot::seven_bits) && !signs;
  // Where bytes are signed, the eighth bit is a sign.
  static constexpr bool as_signed = F::largest > 127 && form == Dot::signed_bytes;
  static constexpr int offset = as_signed ? F::offset - 128 : signs ? 0 : F::offset;
  u8v q[8];
  u8v top[split ? 8 : 1];

  INLINE void take(const Part& p) {
    for (int j = 0; j < 8; j++) {
      q[j] = p.q[j];
      if constexpr (split) {
        q[j] = p.q[j] & splat8(127);
        top[j] = (u8v)(((u32v)p.q[j] >> 7) & 0x01010101u);
      }
      if constexpr (signs) q[j] = p.q[j] - splat8(F::offset);
      if constexpr (as_signed) q[j] = p.q[j] ^ splat8(128);
    }
  }
};

/**
 * sums[n] + Σ of products of w[n]'s quads from … to − 1 with x, bytes up to `largest`: N columns of weights share what is read of x.
 * Sums of two products are added in 16 bits while that is safe.
 */
template <int largest, int from, int to, Dot form, int N>
INLINE void dot_quads(const u8v* const* w, const int8_t* x, i32v* sums) {
  if constexpr (form != Dot::pairs) {
    for (int j = from; j < to; j++) {
      const i8v quad = N > 1 ? in_register(load32_splat(x + 4 * j)) : load32_splat(x + 4 * j);
      for (int n = 0; n < N; n++) sums[n] = dot4_add(quad, w[n][j], sums[n]);
    }
  } else {
    constexpr int safe = 32767 / (2 * 128 * largest), at_once = safe >= 8 ? 8 : safe >= 4 ? 4 : safe >= 2 ? 2 : 1;
    for (int n = 0; n < N; n++)
      for (int j = from; j < to; j += at_once) {
        i16v pairs = dot2(load32_splat(x + 4 * j), w[n][j]);
        for (int i = j + 1; i < j + at_once && i < to; i++) pairs += dot2(load32_splat(x + 4 * i), w[n][i]);
        sums[n] += add_pairs(pairs);
      }
  }
}

template <class F, int from, int to, int digits, Dot form, int N>
INLINE void dot_digit(const Operand<F, digits, form>* w, const int8_t* x, i32v* sums) {
  const u8v *q[N], *top[N];
  for (int n = 0; n < N; n++) q[n] = w[n].q, top[n] = w[n].top;
  if constexpr (Operand<F, digits, form>::signs) {
    for (int n = 0; n < N; n++)
      for (int j = from; j < to; j++)
        sums[n] += add_pairs(dot2(turn_signs(load32_splat(x + 4 * j), (i8v)q[n][j]), magnitude((i8v)q[n][j])));
  } else if constexpr (Operand<F, digits, form>::split) {
    i32v eighth[N] = {};
    dot_quads<127, from, to, form, N>(q, x, sums);
    dot_quads<1, from, to, form, N>(top, x, eighth);
    for (int n = 0; n < N; n++) sums[n] += eighth[n] << 7;
  } else {
    dot_quads<F::largest, from, to, form, N>(q, x, sums);
  }
}

/** Σ (q − offset) · x over the numbers of the quads from … to − 1, whose activations sum to `sum`. */
template <class F, int from, int to, int digits, Dot form, int N>
INLINE void dot(const Operand<F, digits, form>* w, const Rounded<digits>* x, i32v sum, i32v* results) {
  constexpr int offset = Operand<F, digits, form>::offset;
  for (int n = 0; n < N; n++) results[n] = offset == 0 ? i32v{} : sum * -offset;
  dot_digit<F, from, to, digits, form, N>(w, x->q[digits - 1], results);
  if constexpr (digits == 2) {
    i32v high[N] = {};
    dot_digit<F, from, to, digits, form, N>(w, x->q[0], high);
    for (int n = 0; n < N; n++) results[n] += high[n] << 8;
  }
}

/** results[n] + one part's products with one block of activations. */
template <class F, int digits, Dot form, int N>
INLINE void add_part(f32v* results, const Operand<F, digits, form>* w, const Part* p, const Rounded<digits>* x) {
  const f32v scale = splat(x->scale);
  i32v dots[N];
  if constexpr (F::spans == 1) {
    dot<F, 0, 8, digits, form, N>(w, x, splat32(x->sum), dots);
    for (int n = 0; n < N; n++) {
      results[n] = madd(to_float(dots[n]), p[n].scale[0] * scale, results[n]);
      if constexpr (F::minimums) results[n] = nmadd(p[n].minimum[0], splat(x->scaled_sum), results[n]);
    }
  } else {
    const i32v low = splat32(x->low_sum), high = splat32(x->sum) - low;
    i32v first[N];
    dot<F, 0, 4, digits, form, N>(w, x, low, first);
    dot<F, 4, 8, digits, form, N>(w, x, high, dots);
    for (int n = 0; n < N; n++) {
      f32v both = madd(to_float(dots[n]), p[n].scale[1], to_float(first[n]) * p[n].scale[0]);
      if constexpr (F::minimums) both = nmadd(p[n].minimum[1], to_float(high), nmadd(p[n].minimum[0], to_float(low), both));
      results[n] = madd(both, scale, results[n]);
    }
  }
}

/** A tile of `blocks` blocks of F times one row of activations, whose blocks are `stride` bytes apart. */
template <class F, int digits, Dot form>
void one_row(const uint8_t* tile, int blocks, const uint8_t* x, size_t stride, float* results) {
  f32v sums[vectors_of_tile] = {};
  for (int b = 0; b < blocks; b++, tile += tile_rows * F::bytes) {
    foresee_block<F, ahead_of_one_row>(tile);
    for (int v = 0; v < vectors_of_tile; v++) {
      const Rows rows = {tile, v * lanes};
      const typename F::Head head = F::head(rows);
      const uint8_t* at = x;
      for (int turn = 0; turn < F::parts / F::distinct; turn++)
        unroll<F::distinct>([&]<int s>() __attribute__((always_inline)) {
          Part p;
          F::template part<s>(rows, head, turn, p);
          Operand<F, digits, form> w;
          w.take(p);
          add_part<F, digits, form, 1>(sums + v, &w, &p, (const Rounded<digits>*)at);
          at += stride;
        });
    }
    x += F::parts * stride;
  }
  for (int v = 0; v < vectors_of_tile; v++) store(results + v * lanes, sums[v]);
}

/**
 * N columns of one vector's width each, `blocks` blocks of F long, times `count` rows of activations at byte offsets[i] of every row
 * of blocks. Sums of row i lie at sums[n] + 16 i.
 */
template <class F, int digits, Dot form, int N>
INLINE void columns(const Rows* column, int blocks, const uint8_t* x, size_t stride, const uint32_t* offsets, int count,
                    float* const* sums) {
  for (int n = 0; n < N; n++)
    for (int i = 0; i < count; i++) store(sums[n] + i * tile_rows, f32v{});
  for (int b = 0; b < blocks; b++) {
    Rows rows[N];
    typename F::Head head[N];
    for (int n = 0; n < N; n++) {
      rows[n] = {column[n].block + (size_t)b * tile_rows * F::bytes, column[n].first};
      head[n] = F::head(rows[n]);
    }
    for (int turn = 0; turn < F::parts / F::distinct; turn++)
      unroll<F::distinct>([&]<int s>() __attribute__((always_inline)) {
        Part p[N];
        Operand<F, digits, form> w[N];
        for (int n = 0; n < N; n++) {
          if (rows[n].first == 0) foresee_part<F>(rows[n].block, turn * F::distinct + s);
          F::template part<s>(rows[n], head[n], turn, p[n]);
          w[n].take(p[n]);
        }
#pragma GCC unroll 1
        for (int i = 0; i < count; i++) {
          f32v results[N];
          for (int n = 0; n < N; n++) results[n] = load<f32v>(sums[n] + i * tile_rows);
          add_part<F, digits, form, N>(results, w, p, (const Rounded<digits>*)(x + offsets[i]));
          for (int n = 0; n < N; n++) store(sums[n] + i * tile_rows, results[n]);
        }
        x += stride;
      });
  }
}

/** `tiles` tiles, `tile_bytes` apart, times `count` rows of activations: results [tiles, count, 16]. */
template <class F, int digits, Dot form>
void many_rows(const uint8_t* tile, int tiles, size_t tile_bytes, int blocks, const uint8_t* x, size_t stride,
               const uint32_t* offsets, int count, float* results) {
  if constexpr (with_few_reads<F, digits>)
    return many_rows_with_few_reads<F, digits, form>(tile, tiles, tile_bytes, blocks, x, stride, offsets, count, results);
  if constexpr (in_blocks<F, form>)
    return many_rows_in_blocks<F, digits>(tile, tiles, tile_bytes, blocks, x, stride, offsets, count, results);
  if constexpr (vectors_of_tile == 1) // and so there are registers for two
    for (; tiles >= 2; tiles -= 2, tile += 2 * tile_bytes, results += 2 * count * tile_rows) {
      const Rows two[] = {{tile, 0}, {tile + tile_bytes, 0}};
      float* const sums[] = {results, results + count * tile_rows};
      columns<F, digits, form, 2>(two, blocks, x, stride, offsets, count, sums);
    }
  for (; tiles > 0; tiles--, tile += tile_bytes, results += count * tile_rows)
    for (int v = 0; v < vectors_of_tile; v++) {
      const Rows one = {tile, v * lanes};
      float* const sums = results + v * lanes;
      columns<F, digits, form, 1>(&one, blocks, x, stride, offsets, count, &sums);
    }
}
