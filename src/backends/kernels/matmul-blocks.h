// Many rows of activations where a dot product leaves sums of two products (`Dot::pairs`): a few rows times a few vectors of weights
// at a time, so that what is read into a register serves several products.
#pragma once
#include "activations.h"
#include "quantized.h"

/**
 * Whether products of F are multiplied so. Where vectors are short, more sums than registers come of it: there it pays for words alone.
 */
template <class F, Dot form>
constexpr bool in_blocks = form == Dot::pairs && (LANES == 8 || F::largest > 127);

/** Vectors of weights that are taken apart together. */
constexpr int vectors_at_once = 4;

/** How weights of F are multiplied with blocks of activations of so many digits. */
template <class F, int digits>
struct Blocking {
  // Two products with bytes above 127 overflow 16 bits. Such weights become words, and two products a lane go into 32 bits.
  static constexpr bool words = F::largest > 127;
  /** Vectors that hold a part of a vector of rows. */
  static constexpr int steps = words ? 16 : 8, steps_of_span = steps / F::spans;
  static constexpr int safely(int most_activation, int most_weight) {
    const int safe = words ? 1 : 32767 / (2 * most_activation * most_weight);
    return safe >= steps_of_span ? steps_of_span : safe >= 4 ? 4 : safe >= 2 ? 2 : 1;
  }
  static constexpr int as_stored = safely(128, F::largest), below = F::offset, above = F::largest - F::offset;
  static constexpr int around_zero = safely(digits == 1 ? 127 : 128, below > above ? below : above);
  // Weights less their offset leave more room, but only unsigned bytes are multiplied with signed ones. So they trade signs: activations
  // become 128 more, of which the sums, whatever overflows, are 128 Σ weights too high.
  static constexpr bool trade = F::offset != 0 && as_stored < around_zero;
  /** Steps whose sums may be added in 16 bits. */
  static constexpr int at_once = trade ? around_zero : as_stored, groups = steps_of_span / at_once;
  /** Whether what is multiplied is the weights less their offset, and from `Prepared` activations. */
  static constexpr bool prepared = words || trade;
  /** Rows times vectors are as many sums as there are registers for; where 16 and 32 bits are added up side by side, half as many. */
  static constexpr int rows = 2, vectors = words || groups == 1 ? 4 : 2;
};

/** A part of some vectors of rows as the products read it. */
template <class F, int digits>
struct Weights {
  using B = Blocking<F, digits>;
  u8v q[B::steps][vectors_at_once];
  i16v first[F::spans * B::groups][vectors_at_once]; // what sums of 16 bits begin with
  f32v scale[F::spans][vectors_at_once], minimum[F::spans][vectors_at_once];

  INLINE void take(const Part& p, int v) {
    for (int j = 0; j < 8; j++) {
      if constexpr (B::words) {
        q[2 * j][v] = (u8v)(((i16v)p.q[j] & 255) - F::offset);
        q[2 * j + 1][v] = (u8v)((((i16v)p.q[j] >> 8) & 255) - F::offset);
      } else {
        q[j][v] = B::trade ? p.q[j] - splat8(F::offset) : p.q[j];
      }
    }
    if constexpr (B::trade)
      for (int g = 0; g < F::spans * B::groups; g++) {
        i16v sum = {};
        for (int j = 0; j < B::at_once; j++) sum -= dot2((i8v)q[g * B::at_once + j][v], splat8(128));
        first[g][v] = sum;
      }
    for (int s = 0; s < F::spans; s++) {
      scale[s][v] = p.scale[s];
      if constexpr (F::minimums) minimum[s][v] = p.minimum[s];
    }
  }
};

/** A digit of 32 activations as words, the first and third of every four and apart the second and fourth, or as bytes 128 more. */
union Prepared {
  int16_t words[2][16];
  uint8_t bytes[32];
};
template <bool words>
INLINE void prepare(const int8_t* x, Prepared& to) {
  for (int i = 0; i < 32; i += 4 * lanes) {
    const i16v pairs = load<i16v>(x + i);
    if constexpr (words) {
      store(to.words[0] + i / 2, (i16v)((pairs << 8) >> 8));
      store(to.words[1] + i / 2, (i16v)(pairs >> 8));
    } else {
      store(to.bytes + i, (u8v)pairs ^ splat8(128));
    }
  }
}

/** Four bytes, or two words, of a digit of activations in all lanes. */
template <bool words>
INLINE i8v activations_of_step(const void* x, int step) {
  return load32_splat((const uint8_t*)x + (words ? 32 * (step & 1) + 2 * (step & ~1) : 4 * step));
}

/** sums[r][v] + the products of a span of R rows and V vectors. */
template <class F, int digits, int span, int from, int R, int V>
INLINE void add_products(const Weights<F, digits>& w, const void* const* x, i32v (*sums)[V]) {
  using B = Blocking<F, digits>;
  unroll<B::groups>([&]<int g>() __attribute__((always_inline)) {
    constexpr int group = span * B::groups + g;
    i16v pairs[R][V];
    unroll<B::at_once>([&]<int i>() __attribute__((always_inline)) {
      constexpr int step = group * B::at_once + i;
      i8v a[R];
      for (int r = 0; r < R; r++) a[r] = in_register(activations_of_step<B::words>(x[r], step));
      for (int v = 0; v < V; v++) {
        const u8v b = in_register(w.q[step][from + v]);
        for (int r = 0; r < R; r++) {
          if constexpr (B::words) {
            sums[r][v] = in_register(sums[r][v] + dot_words((i16v)a[r], (i16v)b));
          } else {
            const i16v two = B::trade ? dot2((i8v)b, (u8v)a[r]) : dot2(a[r], b);
            if constexpr (i == 0 && !B::trade) pairs[r][v] = two;
            else pairs[r][v] = in_register((i16v)((i == 0 ? w.first[group][from + v] : pairs[r][v]) + two));
          }
        }
      }
    });
    if constexpr (!B::words)
      for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sums[r][v] += add_pairs(pairs[r][v]);
  });
}

/**
 * Adds one part's products with R rows of activations to results[r], tiles being `next_tile` floats apart. What is done with a block is
 * what `add_part` does.
 */
template <class F, int digits, int from, int R, int V>
INLINE void add_block(const Weights<F, digits>& w, const Rounded<digits>* const* x, const Prepared (*prepared)[digits],
                      float* const* results, ptrdiff_t next_tile) {
  constexpr bool use_prepared = Blocking<F, digits>::prepared;
  const void* q[digits][R];
  for (int d = 0; d < digits; d++)
    for (int r = 0; r < R; r++) q[d][r] = use_prepared ? (const void*)&prepared[r][d] : x[r]->q[d];
  [[maybe_unused]] f32v partial[R][V];
  unroll<F::spans>([&]<int s>() __attribute__((always_inline)) {
    i32v sums[R][V] = {};
    add_products<F, digits, s, from, R, V>(w, q[0], sums);
    if constexpr (digits == 2) {
      for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sums[r][v] = sums[r][v] << 8;
      add_products<F, digits, s, from, R, V>(w, q[1], sums);
    }
    for (int r = 0; r < R; r++) {
      const Rounded<digits>& row = *x[r];
      const int sum = F::spans == 1 ? row.sum : s == 0 ? row.low_sum : row.sum - row.low_sum;
      const f32v scale = splat(row.scale);
      for (int v = 0; v < V; v++) {
        // Results are in memory but for a moment: registers are for sums.
        float* const y = results[r] + (from + v) / vectors_of_tile * next_tile + (from + v) % vectors_of_tile * lanes;
        if constexpr (F::offset != 0 && !use_prepared) sums[r][v] += splat32(sum * -F::offset);
        if constexpr (F::spans == 2 && s == 0) {
          partial[r][v] = to_float(sums[r][v]) * w.scale[0][from + v];
          continue;
        }
        f32v result = load<f32v>(y);
        if constexpr (F::spans == 1) {
          result = madd(to_float(sums[r][v]), w.scale[0][from + v] * scale, result);
          if constexpr (F::minimums) result = nmadd(w.minimum[0][from + v], splat(row.scaled_sum), result);
        } else {
          f32v both = madd(to_float(sums[r][v]), w.scale[1][from + v], partial[r][v]);
          if constexpr (F::minimums) {
            both = nmadd(w.minimum[0][from + v], splat((float)row.low_sum), both);
            both = nmadd(w.minimum[1][from + v], splat((float)sum), both);
          }
          result = madd(both, scale, result);
        }
        store(y, result);
      }
    }
  });
}

/** Adds a part's products with all rows to results [tiles, count, 16]. No part of a format has a copy of its own of this. */
template <class F, int digits, int tiles>
__attribute__((noinline)) void add_part_in_blocks(const Weights<F, digits>& w, const uint8_t* x, const uint32_t* offsets, int count,
                                                  float* results) {
  using B = Blocking<F, digits>;
  constexpr int vectors = tiles * vectors_of_tile, together = vectors < B::vectors ? vectors : B::vectors;
  Prepared prepared[B::prepared ? most_rows : B::rows][digits];
  if constexpr (B::prepared)
    for (int i = 0; i < count; i++)
      for (int d = 0; d < digits; d++) prepare<B::words>(((const Rounded<digits>*)(x + offsets[i]))->q[d], prepared[i][d]);
  const auto multiply = [&]<int R>(int i) __attribute__((always_inline)) {
    const Rounded<digits>* row[R];
    float* y[R];
    for (int r = 0; r < R; r++) {
      row[r] = (const Rounded<digits>*)(x + offsets[i + r]);
      y[r] = results + (i + r) * tile_rows;
    }
    unroll<vectors / together>([&]<int g>() __attribute__((always_inline)) {
      add_block<F, digits, g * together, R, together>(w, row, prepared + (B::prepared ? i : 0), y, (ptrdiff_t)count * tile_rows);
    });
  };
  int i = 0;
#pragma GCC unroll 1
  for (; i + B::rows <= count; i += B::rows) multiply.template operator()<B::rows>(i);
#pragma GCC unroll 1
  for (; i < count; i++) multiply.template operator()<1>(i);
}

/** `many_rows` of just so many tiles. */
template <class F, int digits, int tiles>
void tiles_in_blocks(const uint8_t* tile, size_t tile_bytes, int blocks, const uint8_t* x, size_t stride, const uint32_t* offsets,
                     int count, float* results) {
  constexpr int vectors = tiles * vectors_of_tile;
  Weights<F, digits> w;
  for (int i = 0; i < tiles * count * tile_rows; i += lanes) store(results + i, f32v{});
  for (int b = 0; b < blocks; b++, tile += tile_rows * F::bytes) {
    Rows rows[vectors];
    typename F::Head head[vectors];
    for (int v = 0; v < vectors; v++) {
      rows[v] = {tile + v / vectors_of_tile * tile_bytes, v % vectors_of_tile * lanes};
      head[v] = F::head(rows[v]);
    }
    for (int turn = 0; turn < F::parts / F::distinct; turn++)
      unroll<F::distinct>([&]<int s>() __attribute__((always_inline)) {
        for (int v = 0; v < vectors; v++) {
          if (rows[v].first == 0) foresee_part<F>(rows[v].block, turn * F::distinct + s);
          Part p;
          F::template part<s>(rows[v], head[v], turn, p);
          w.take(p, v);
        }
        add_part_in_blocks<F, digits, tiles>(w, x, offsets, count, results);
        x += stride;
      });
  }
}

/** See `many_rows`. */
template <class F, int digits>
void many_rows_in_blocks(const uint8_t* tile, int tiles, size_t tile_bytes, int blocks, const uint8_t* x, size_t stride,
                         const uint32_t* offsets, int count, float* results) {
  constexpr int together = vectors_at_once / vectors_of_tile;
  for (; tiles >= together; tiles -= together, tile += together * tile_bytes, results += together * count * tile_rows)
    tiles_in_blocks<F, digits, together>(tile, tile_bytes, blocks, x, stride, offsets, count, results);
  if constexpr (together > 1)
    for (; tiles > 0; tiles--, tile += tile_bytes, results += count * tile_rows)
      tiles_in_blocks<F, digits, 1>(tile, tile_bytes, blocks, x, stride, offsets, count, results);
}
