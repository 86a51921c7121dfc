// Attention in the manner of FlashAttention (arXiv 2205.14135): one pass over pages of keys with a running maximum and sum.
#include "attention.h"

#include "vector.h"

namespace {

/// The right side of a product: rows of floats, or of halves that are widened on the way.
struct Floats {
  const float* at;
  template <int V>
  void line(int from, f32x4* out) const {
    for (int v = 0; v < V; v++) out[v] = load<f32x4>(at + from + 4 * v);
  }
};
struct Halves {
  const uint16_t* at;
  template <int V>
  void line(int from, f32x4* out) const {
    if constexpr (V == 2) widen8(at + from, out, out + 1);
    else out[0] = widen4(at + from);
  }
};

/// c[R, 4V] = a[R, depth] · b[depth, columns] (+ c) from one column on. Each element is one chain over
/// `depth` in ascending order, whatever R and the form of b.
template <int R, int V, class Right>
inline void block_product(const float* a, int a_stride, Right b, int columns, int column, float* c, int c_stride, int depth, bool onto) {
  c += column;
  f32x4 sums[R][V];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) sums[r][v] = onto ? load<f32x4>(c + r * c_stride + 4 * v) : splat(0.0f);
  for (int d = 0; d < depth; d++) {
    f32x4 line[V];
    b.template line<V>(d * columns + column, line);
    for (int r = 0; r < R; r++) {
      const f32x4 factor = splat(a[r * a_stride + d]);
      for (int v = 0; v < V; v++) sums[r][v] = madd(factor, line[v], sums[r][v]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) store(c + r * c_stride + 4 * v, sums[r][v]);
}

template <int R, class Right>
void row_product(const float* a, int a_stride, Right b, int columns, float* c, int c_stride, int depth, bool onto) {
  int column = 0;
  for (; column + 8 <= columns; column += 8) block_product<R, 2>(a, a_stride, b, columns, column, c, c_stride, depth, onto);
  for (; column < columns; column += 4) block_product<R, 1>(a, a_stride, b, columns, column, c, c_stride, depth, onto);
}

/// c[rows, columns] = a[rows, depth] · b[depth, columns], or added onto c. `columns` is a multiple of 4.
template <class Right>
void product(const float* a, int a_stride, Right b, int columns, float* c, int c_stride, int rows, int depth, bool onto) {
  for (; rows >= 6 || rows == 4; rows -= 4, a += 4 * a_stride, c += 4 * c_stride)
    row_product<4>(a, a_stride, b, columns, c, c_stride, depth, onto);
  if (rows == 5) row_product<5>(a, a_stride, b, columns, c, c_stride, depth, onto);
  if (rows == 3) row_product<3>(a, a_stride, b, columns, c, c_stride, depth, onto);
  if (rows == 2) row_product<2>(a, a_stride, b, columns, c, c_stride, depth, onto);
  if (rows == 1) row_product<1>(a, a_stride, b, columns, c, c_stride, depth, onto);
}

/// The same with halves on the right: many rows share one widening, few widen on the way.
void product(const float* a, int a_stride, const uint16_t* b, int columns, float* c, int c_stride, int rows, int depth, bool onto,
             float* scratch) {
  if (rows <= 5) return product(a, a_stride, Halves{b}, columns, c, c_stride, rows, depth, onto);
  for (int i = 0; i < columns * depth; i += 8) {
    f32x4 low, high;
    widen8(b + i, &low, &high);
    store(scratch + i, low);
    store(scratch + i + 4, high);
  }
  product(a, a_stride, Floats{scratch}, columns, c, c_stride, rows, depth, onto);
}

constexpr float minus_infinity = -__builtin_inff();

float exp1(float x) { return exp(splat(x))[0]; }

/// A softmax that is not finished: Σ e^(score − maximum) and the same sum of values.
struct State {
  float maximum, sum;
};

/// out = out·e^(…) + other·e^(…), so that both have one maximum. A state without keys changes nothing.
void merge(State& state, float* out, State other, const float* from, int n) {
  if (other.maximum == minus_infinity) return;
  if (state.maximum == minus_infinity) {
    state = other;
    for (int i = 0; i < n; i += 4) store(out + i, load<f32x4>(from + i));
    return;
  }
  const float maximum = state.maximum > other.maximum ? state.maximum : other.maximum;
  const float a = exp1(state.maximum - maximum), b = exp1(other.maximum - maximum);
  for (int i = 0; i < n; i += 4) store(out + i, load<f32x4>(out + i) * splat(a) + load<f32x4>(from + i) * splat(b));
  state = {maximum, state.sum * a + other.sum * b};
}

void finish(State state, const float* out, float* y, int n) {
  const f32x4 factor = splat(1.0f / state.sum);
  for (int i = 0; i < n; i += 4) store(y + i, load<f32x4>(out + i) * factor);
}

/// What one thread needs for one piece; about 140 KB of its stack.
struct Scratch {
  alignas(64) float q[most_rows * most_head_dim];
  alignas(64) float widened[page_positions * most_head_dim];
  alignas(64) float out[most_rows * most_head_dim];    // of the current range
  alignas(64) float whole[most_rows * most_head_dim];  // of all ranges so far
  alignas(64) float scores[most_rows * page_positions];
  State ranges[most_rows];
  State states[most_rows];
};

/// Turns a row of scores into weights and rescales what was summed before. Positions outside [low, high] get weight 0.
void soften(float* scores, int first, int low, int high, State& state, float* out, int n) {
  constexpr int V = page_positions / 4;
  f32x4 v[V];
  f32x4 most = splat(minus_infinity);
  for (int i = 0; i < V; i++) {
    const int p = first + 4 * i;
    const i32x4 position = {p, p + 1, p + 2, p + 3};
    const i32x4 lows = {low, low, low, low}, highs = {high, high, high, high};
    v[i] = select((i32x4)(position >= lows) & (i32x4)(position <= highs), load<f32x4>(scores + 4 * i), splat(minus_infinity));
    most = raise_to(most, v[i]);
  }
  float maximum = state.maximum;
  for (int lane = 0; lane < 4; lane++) maximum = most[lane] > maximum || most[lane] != most[lane] ? most[lane] : maximum;
  if (maximum == minus_infinity) {
    for (int i = 0; i < V; i++) store(scores + 4 * i, splat(0.0f));
    return;
  }
  f32x4 sum = splat(0.0f);
  for (int i = 0; i < V; i++) {
    const f32x4 weight = exp(v[i] - splat(maximum));
    store(scores + 4 * i, weight);
    sum += weight;
  }
  if (state.maximum != maximum) {
    const float shrink = exp1(state.maximum - maximum);
    state.sum *= shrink;
    for (int i = 0; i < n; i += 4) store(out + i, load<f32x4>(out + i) * splat(shrink));
    state.maximum = maximum;
  }
  state.sum += add_lanes(sum);
}

void compute(const Piece& piece, const Tile& tile, Scratch& s, const float* q, float* y, AttentionShape shape, float scale,
             const int* rows, const double* pages, float* partials) {
  const int n = shape.head_dim, count = tile.tokens * piece.heads;
  const int64_t kv_head = piece.head / (shape.heads / shape.kv_heads);
  const int64_t in_page = kv_head * n * page_positions * 2;
  const int last = tile.position + tile.tokens - 1;

  for (int i = 0; i < count; i++) {
    const float* from = q + ((int64_t)rows[tile.rows_from + i / piece.heads] * shape.heads + piece.head + i % piece.heads) * n;
    for (int d = 0; d < n; d += 4) store(s.q + i * n + d, load<f32x4>(from + d) * splat(scale));
    s.states[i] = {minus_infinity, 0};
  }
  for (int range = piece.range_from; range < piece.range_to; range++) {
    for (int i = 0; i < count; i++) s.ranges[i] = {minus_infinity, 0};
    for (int i = 0; i < count * n; i += 4) store(s.out + i, splat(0.0f));
    const int start = range * range_positions, end = start + range_positions - 1;
    const int from = start > tile.low ? start : tile.low, to = end < last ? end : last;
    for (int page = from / page_positions; page <= to / page_positions; page++) {
      const double address = pages[tile.pages_from + page - tile.low / page_positions];
      const uint16_t* halves = (const uint16_t*)(uintptr_t)address + in_page;
      product(s.q, n, halves, page_positions, s.scores, page_positions, count, n, false, s.widened);
      for (int i = 0; i < count; i++)
        soften(s.scores + i * page_positions, page * page_positions, tile.low, tile.position + i / piece.heads, s.ranges[i], s.out + i * n, n);
      product(s.scores, page_positions, halves + n * page_positions, n, s.out, n, count, page_positions, true, s.widened);
    }
    for (int i = 0; i < count; i++) merge(s.states[i], s.whole + i * n, s.ranges[i], s.out + i * n, n);
  }
  for (int i = 0; i < count; i++) {
    if (piece.partial < 0) {
      const int64_t row = rows[tile.rows_from + i / piece.heads];
      finish(s.states[i], s.whole + i * n, y + (row * shape.heads + piece.head + i % piece.heads) * n, n);
    } else {
      float* partial = partials + (int64_t)(piece.partial + i) * (n + 4);
      partial[0] = s.states[i].maximum;
      partial[1] = s.states[i].sum;
      if (s.states[i].maximum != minus_infinity)
        for (int d = 0; d < n; d += 4) store(partial + 4 + d, load<f32x4>(s.whole + i * n + d));
    }
  }
}

}  // namespace

void append(const float* keys, const float* values, int tokens, AttentionShape shape, const double* pages, const int* positions,
            Team team) {
  const int n = shape.head_dim;
  const int64_t row = (int64_t)shape.kv_heads * n;
  for (int token; (token = claim(team, 1)) < tokens;) {
    uint16_t* page = (uint16_t*)(uintptr_t)pages[token];
    const int slot = positions[token] % page_positions;
    for (int head = 0; head < shape.kv_heads; head++) {
      const float* key = keys + token * row + (int64_t)head * n;
      const float* value = values + token * row + (int64_t)head * n;
      uint16_t* k = page + (int64_t)head * n * page_positions * 2;
      uint16_t* v = k + n * page_positions + slot * n;
      for (int d = 0; d < n; d += 4) {
        const u32x4 a = narrow4(load<f32x4>(key + d)), b = narrow4(load<f32x4>(value + d));
        for (int i = 0; i < 4; i++) {
          k[(d + i) * page_positions + slot] = (uint16_t)a[i];
          v[d + i] = (uint16_t)b[i];
        }
      }
    }
  }
}

void attention(const float* q, float* y, AttentionShape shape, float scale, const Tile* tiles, const Piece* pieces, int count,
               const int* rows, const double* pages, float* partials, Team team) {
  Scratch scratch;
  for (int i; (i = claim(team, 1)) < count;)
    compute(pieces[i], tiles[pieces[i].tile], scratch, q, y, shape, scale, rows, pages, partials);
}

void attention_merge(float* y, AttentionShape shape, const Merge* merges, int count, const float* partials, Team team) {
  const int n = shape.head_dim;
  alignas(16) float out[most_head_dim];
  for (int i; (i = claim(team, 1)) < count;) {
    const Merge& m = merges[i];
    State state = {minus_infinity, 0};
    for (int range = 0; range < m.ranges; range++) {
      const float* partial = partials + (int64_t)(m.partial + range * m.stride) * (n + 4);
      merge(state, out, {partial[0], partial[1]}, partial + 4, n);
    }
    finish(state, out, y + ((int64_t)m.row * shape.heads + m.head) * n, n);
  }
}
