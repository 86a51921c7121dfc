// Many rows of activations where every read costs a check (`reads_are_checked`): reads are few and wide, and what they bring serves two
// rows of activations times two vectors of weights. What does not fit the registers is kept by the compiler, which needs no checks.
#pragma once
#include "activations.h"
#include "formats.h"

/**
 * Whether products of F are multiplied so: not bytes above 127, which have no dot product there, nor parts that all have code of their
 * own with two digits, which would take long to compile for small models.
 */
template <class F, int digits>
constexpr bool with_few_reads = reads_are_checked && F::largest <= 127 && (digits == 1 || F::distinct == 1);

/** Sixteen activations, of which products take four at a time. */
struct Sixteen {
  i32v numbers;
  INLINE explicit Sixteen(const int8_t* x) : numbers(load<i32v>(x)) {}
  template <int j>
  INLINE i8v quad() const {
    return (i8v)splat32(numbers[j]);
  }
};

/** How a block of activations is scaled, and its sums. */
struct Scaling {
  i32v all;
  template <int digits>
  INLINE explicit Scaling(const Rounded<digits>& x) : all(load<i32v>(&x.scale)) {}
  INLINE f32v scale() const { return (f32v)splat32(all[0]); }
  INLINE f32v scaled_sum() const { return (f32v)splat32(all[1]); }
  INLINE i32v sum() const { return splat32(all[2]); }
  INLINE i32v low_sum() const { return splat32(all[3]); }
};

/** Rows of activations, and vectors of weights, that are multiplied together. */
constexpr int rows_at_once = 2, columns_at_once = 2;
using Dots = i32v[rows_at_once][columns_at_once];

/** dots[r][c] = Σ of products of quads from … to − 1 of p[c] and of a digit of x[r]. */
template <class F, Dot form, int from, int to, int digits>
INLINE void dot_few(const Part* p, const Rounded<digits>* const* x, int digit, Dots& dots) {
  constexpr int safe = form == Dot::pairs ? 32767 / (2 * 128 * F::largest) : 1, at_once = safe >= 8 ? 8 : safe >= 4 ? 4 : safe >= 2 ? 2 : 1;
  i16v pairs[rows_at_once][columns_at_once];
  for (int r = 0; r < rows_at_once; r++)
    for (int c = 0; c < columns_at_once; c++) dots[r][c] = i32v{};
  const auto multiply = [&]<int j>(int r, i8v quad) __attribute__((always_inline)) {
    for (int c = 0; c < columns_at_once; c++)
      if constexpr (form == Dot::pairs) {
        constexpr int place = (j - from) % at_once;
        const i16v two = dot2(quad, p[c].q[j]);
        pairs[r][c] = place == 0 ? two : in_register((i16v)(pairs[r][c] + two));
        if constexpr (place == at_once - 1 || j == to - 1) dots[r][c] += add_pairs(pairs[r][c]);
      } else {
        dots[r][c] = in_register(dot4_add(quad, p[c].q[j], dots[r][c]));
      }
  };
  unroll<(to - from) / 4>([&]<int part>() __attribute__((always_inline)) {
    constexpr int first = from + 4 * part;
    const Sixteen one(x[0]->q[digit] + 4 * first), other(x[1]->q[digit] + 4 * first);
    unroll<4>([&]<int j>() __attribute__((always_inline)) {
      multiply.template operator()<first + j>(0, one.template quad<j>());
      multiply.template operator()<first + j>(1, other.template quad<j>());
    });
  });
}

/** result + a part's products, of which dots[s] are the sums of span s: what `add_part` does. */
template <class F>
INLINE f32v add_dots(f32v result, const Part& p, const Scaling& x, const i32v* dots) {
  const f32v scale = x.scale();
  if constexpr (F::spans == 1) {
    i32v dot = dots[0];
    if constexpr (F::offset != 0) dot -= x.sum() * F::offset;
    result = madd(to_float(dot), p.scale[0] * scale, result);
    if constexpr (F::minimums) result = nmadd(p.minimum[0], x.scaled_sum(), result);
  } else {
    const i32v sums[] = {x.low_sum(), x.sum() - x.low_sum()};
    f32v both[2];
    for (int s = 0; s < 2; s++) both[s] = to_float(F::offset == 0 ? dots[s] : dots[s] - sums[s] * F::offset);
    f32v sum = madd(both[1], p.scale[1], both[0] * p.scale[0]);
    if constexpr (F::minimums)
      for (int s = 0; s < 2; s++) sum = nmadd(p.minimum[s], to_float(sums[s]), sum);
    result = madd(sum, scale, result);
  }
  return result;
}

/** Adds the products of a part of two vectors of weights with two rows of activations to the rows' sums, which begin at y[r]. */
template <class F, int digits, Dot form>
INLINE void add_few(const Part* p, const Rounded<digits>* const* x, float* const* y) {
  Dots dots[F::spans];
  unroll<F::spans>([&]<int s>() __attribute__((always_inline)) {
    constexpr int from = 4 * s, to = F::spans == 1 ? 8 : from + 4;
    dot_few<F, form, from, to>(p, x, digits - 1, dots[s]);
    if constexpr (digits == 2) {
      Dots high;
      dot_few<F, form, from, to>(p, x, 0, high);
      for (int r = 0; r < rows_at_once; r++)
        for (int c = 0; c < columns_at_once; c++) dots[s][r][c] += high[r][c] << 8;
    }
  });
  f32v sums[rows_at_once][columns_at_once];
  for (int r = 0; r < rows_at_once; r++) {
    const Scaling scaling(*x[r]);
    for (int c = 0; c < columns_at_once; c++) {
      i32v of[F::spans];
      for (int s = 0; s < F::spans; s++) of[s] = dots[s][r][c];
      sums[r][c] = add_dots<F>(load<f32v>(y[r] + c * lanes), p[c], scaling, of);
    }
  }
  for (int r = 0; r < rows_at_once; r++)
    for (int c = 0; c < columns_at_once; c++) store(y[r] + c * lanes, sums[r][c]);
}

/** Some vectors of a tile's rows, from row `first` on, times `count` rows of activations: see `many_rows`. */
template <class F, int digits, Dot form>
INLINE void few_columns(const uint8_t* tile, int first, int blocks, const uint8_t* x, size_t stride, const uint32_t* offsets, int count,
                        float* results) {
  for (int i = 0; i < count; i++)
    for (int c = 0; c < columns_at_once; c++) store(results + i * tile_rows + c * lanes, f32v{});
  for (int b = 0; b < blocks; b++, tile += tile_rows * F::bytes) {
    if (first == 0) foresee_block<F, ahead_of_many_rows>(tile);
    Rows rows[columns_at_once];
    typename F::Head head[columns_at_once];
    for (int c = 0; c < columns_at_once; c++) {
      rows[c] = {tile, first + c * lanes};
      head[c] = F::head(rows[c]);
    }
    for (int turn = 0; turn < F::parts / F::distinct; turn++)
      unroll<F::distinct>([&]<int s>() __attribute__((always_inline)) {
        Part p[columns_at_once];
        for (int c = 0; c < columns_at_once; c++) F::template part<s>(rows[c], head[c], turn, p[c]);
#pragma GCC unroll 1
        for (int i = 0; i < count; i += rows_at_once) {
          const int next = i + 1 < count ? i + 1 : i; // the last of an odd count is its own neighbour: the same sums are stored twice
          const Rounded<digits>* const row[] = {(const Rounded<digits>*)(x + offsets[i]), (const Rounded<digits>*)(x + offsets[next])};
          float* const y[] = {results + i * tile_rows, results + next * tile_rows};
          add_few<F, digits, form>(p, row, y);
        }
        x += stride;
      });
  }
}

/** See `many_rows`. */
template <class F, int digits, Dot form>
void many_rows_with_few_reads(const uint8_t* tile, int tiles, size_t tile_bytes, int blocks, const uint8_t* x, size_t stride,
                              const uint32_t* offsets, int count, float* results) {
  for (; tiles > 0; tiles--, tile += tile_bytes, results += count * tile_rows)
    for (int first = 0; first < tile_rows; first += columns_at_once * lanes)
      few_columns<F, digits, form>(tile, first, blocks, x, stride, offsets, count, results + first);
}
