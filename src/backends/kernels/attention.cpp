// Attention in the manner of FlashAttention (arXiv 2205.14135): one pass over pages of keys with a running maximum and sum.
#include "attention.h"

#include "attention-pages.h"

namespace {

/// Rows whose sums are kept in registers together, and how many vectors wide; two vectors of the right side must fit beside them.
constexpr int most_rows_at_once = vector_registers == 32 ? 8 : 6;
constexpr int most_sums = vector_registers == 32 ? 24 : 12;
constexpr int vectors_beside(int rows) {
  int vectors = 2;
  while (vectors < 8 && 2 * vectors * rows <= most_sums) vectors *= 2;
  return vectors;
}

/// The left side of a product and where it goes: c[row] += a[row] · b over lines [from, to) of b.
struct Rows {
  const float* a;
  int a_stride;
  float* c;
  int c_stride;
  INLINE Rows from(int row) const { return {a + row * a_stride, a_stride, c + row * c_stride, c_stride}; }
};

/// Each element is one chain over lines in ascending order, however many rows and vectors are computed together.
template <int rows, int vectors, bool onto, class Right>
INLINE void block_product(Rows r, const Right& b, int from, int to, int column) {
  f32v sums[rows][vectors] = {};
  if constexpr (onto)
    for (int i = 0; i < rows; i++)
      for (int v = 0; v < vectors; v++) sums[i][v] = load<f32v>(r.c + i * r.c_stride + column + v * LANES);
#pragma GCC unroll 1
  for (int d = from; d < to; d++) {
    f32v line[vectors];
    b.template line<vectors>(d, column, line);
    for (int i = 0; i < rows; i++) {
      const f32v factor = splat(r.a[i * r.a_stride + d]);
      for (int v = 0; v < vectors; v++) sums[i][v] = madd(factor, line[v], sums[i][v]);
    }
  }
  for (int i = 0; i < rows; i++)
    for (int v = 0; v < vectors; v++) store(r.c + i * r.c_stride + column + v * LANES, sums[i][v]);
}

/// `rows` rows and all columns, whose number is a multiple of 2 · LANES.
template <bool onto, class Right, int most = most_rows_at_once>
void product(int rows, Rows r, const Right& b, int from, int to, int columns) {
  if (rows == most) {
    int column = 0;
    constexpr int vectors = Right::widest < vectors_beside(most) ? Right::widest : vectors_beside(most);
    if constexpr (vectors > 2)
      for (; column + vectors * LANES <= columns; column += vectors * LANES) block_product<most, vectors, onto>(r, b, from, to, column);
    for (; column < columns; column += 2 * LANES) block_product<most, 2, onto>(r, b, from, to, column);
  } else if constexpr (most > 1) {
    product<onto, Right, most - 1>(rows, r, b, from, to, columns);
  }
}

/// The same with `lines` of b from `column` on made floats first, where many rows use them.
template <class Right>
INLINE Floats widened(const Right& b, int lines, int column, int columns, float* panel) {
  for (int d = 0; d < lines; d++) {
    f32v line[2];
    if (column + 2 * LANES <= columns) b.template line<2>(d, column, line);
    else b.last(d, column, columns - column, line);
    store(panel + d * panel_width, line[0]);
    store(panel + d * panel_width + LANES, line[1]);
  }
  return {panel};
}

constexpr float minus_infinity = -__builtin_inff();

float exp1(float x) { return exp(splat(x))[0]; }

/// A softmax that is not finished: Σ e^(score − maximum) and the same sum of values. Without keys the sum is 0.
struct State {
  float maximum, sum;
};
constexpr State nothing = {minus_infinity, 0};

/// What weights of one maximum must be multiplied with to have another; an infinite maximum stands for no origin at all.
float shrink(float from, float to) { return from == to ? 1.0f : exp1(from - to); }

/// out = out·e^(…) + other·e^(…), so that both have one maximum. Rows of floats are padded to whole vectors.
void merge(State& state, float* out, State other, const float* from, int n) {
  if (other.sum == 0) return;
  if (state.sum == 0) {
    state = other;
    for (int i = 0; i < n; i += LANES) store(out + i, load<f32v>(from + i));
    return;
  }
  const float maximum = state.maximum > other.maximum ? state.maximum : other.maximum;
  const float a = shrink(state.maximum, maximum), b = shrink(other.maximum, maximum);
  for (int i = 0; i < n; i += LANES) store(out + i, load<f32v>(out + i) * splat(a) + load<f32v>(from + i) * splat(b));
  state = {maximum, state.sum * a + other.sum * b};
}

void store_row(const float* from, float factor, float* y, int n) {
  int i = 0;
  const f32v zero = {}; // −0, which a vanishing product may leave, becomes 0
  for (; i + LANES <= n; i += LANES) store(y + i, madd(load<f32v>(from + i), splat(factor), zero));
  if (i < n) store_some(y + i, madd(load<f32v>(from + i), splat(factor), zero), n - i);
}

/// Positions whose scores are made weights together. Ranges are whole numbers of blocks, so sums depend on positions only.
constexpr int block_positions = 128;
static_assert(range_positions % block_positions == 0 && block_positions % page_positions == 0);

/// Heads padded to whole panels.
constexpr int most_width = (most_head_dim + panel_width - 1) / panel_width * panel_width;

/// What one thread needs for one piece; about 150 KB of its stack.
struct Scratch {
  alignas(64) float q[most_rows * most_head_dim];
  alignas(64) float panel[(most_head_dim > block_positions ? most_head_dim : block_positions) * panel_width];
  alignas(64) float scales[most_head_dim / 32 * page_positions];
  alignas(64) float out[most_rows * most_width];    // of the current range
  alignas(64) float whole[most_rows * most_width];  // of all ranges so far
  alignas(64) float scores[most_rows * block_positions];
  State ranges[most_rows];
  State states[most_rows];
};

/// Turns the scores of a row at positions first … first + count − 1 into weights, and rescales what was summed before. What
/// is outside [low, high] gets weight 0. `count` is a multiple of 32.
void soften(float* scores, int first, int count, int low, int high, State& state, float* out, int n) {
  if (low > first || high < first + count - 1)
    for (int i = 0; i < count; i += LANES) {
      const i32v position = count_up(first + i);
      const i32v visible = (i32v)(position >= low) & (i32v)(position <= high);
      store(scores + i, select(visible, load<f32v>(scores + i), splat(minus_infinity)));
    }
  f32v most = splat(state.maximum);
  for (int i = 0; i < count; i += LANES) most = raise_to(most, load<f32v>(scores + i));
  const float maximum = largest_lane(most);
  const f32v origin = splat(maximum == minus_infinity ? 0.0f : maximum);
  f32v sum = {};
  for (int i = 0; i < count; i += LANES) {
    const f32v weight = exp(load<f32v>(scores + i) - origin);
    store(scores + i, weight);
    sum += weight;
  }
  if (state.maximum != maximum) {
    const float factor = shrink(state.maximum, maximum);
    state.sum *= factor;
    for (int i = 0; i < n; i += LANES) store(out + i, load<f32v>(out + i) * splat(factor));
    state.maximum = maximum;
  }
  state.sum += add_lanes(sum);
}

/// One piece, and what its loops share. `Page` tells how a page is read: see attention-pages.h.
template <class Page>
struct Work {
  const Piece& piece;
  const Tile& tile;
  Scratch& s;
  const int n, count, width;
  const double* pages;
  const size_t in_page;

  INLINE int high(int row) const { return tile.position + row / piece.heads; }
  INLINE const uint8_t* page(int position) const {
    return (const uint8_t*)(uintptr_t)pages[tile.pages_from + position / page_positions - tile.low / page_positions] + in_page;
  }
  /// body(first row, rows) for parts of nearly equal size.
  template <class Body>
  INLINE void for_rows(Body body) const {
    for (int row = 0, parts = (count + most_rows_at_once - 1) / most_rows_at_once; parts > 0; parts--) {
      const int rows = (count - row + parts - 1) / parts;
      body(row, rows);
      row += rows;
    }
  }

  /// Scores of all rows at the page of `position`; those that are not visible are anything. `next` is read soon.
  void score(int position, const uint8_t* next) const {
    const auto keys = Page::keys(page(position), next, n, s.scales);
    const Rows all = {s.q, n, s.scores + position % block_positions, block_positions};
    if (count <= most_rows_at_once) return product<false>(count, all, keys, 0, n, page_positions);
    for (int column = 0; column < page_positions; column += panel_width) {
      const Floats panel = widened(keys, n, column, page_positions, s.panel);
      const Rows there = {all.a, n, all.c + column, block_positions};
      for_rows([&](int row, int rows) {
        if (high(row + rows - 1) >= position) product<false>(rows, there.from(row), panel, 0, n, panel_width);
      });
    }
  }

  /// Adds the values of positions from … to, weighted, where a row sees them: what all rows see together, the rest row by row.
  /// Line 0 of `values` and number 0 of the weights belong to position `first`.
  template <class Right>
  INLINE void add_visible(int row, int rows, Rows r, const Right& values, int first, int from, int to, int columns) const {
    const int common = high(row) < to ? high(row) : to;
    if (common >= from) product<true>(rows, r, values, from - first, common + 1 - first, columns);
    const int rest = common >= from ? common + 1 : from;
    for (int i = 1; i < rows; i++) {
      const int last = high(row + i) < to ? high(row + i) : to;
      if (last >= rest) product<true>(1, r.from(i), values, rest - first, last + 1 - first, columns);
    }
  }

  /// The weighted values of positions from … to, which are of one block, for all rows. `next` is read after them.
  void add_values(int from, int to, const uint8_t* next) const {
    const int block = from - from % block_positions;
    if (count <= most_rows_at_once && n % panel_width == 0) {
      for (int first = from - from % page_positions; first <= to; first += page_positions) {
        const uint8_t* const after = first + page_positions <= to ? Page::values_of(page(first + page_positions), n) : next;
        const Rows all = {s.scores + first - block, block_positions, s.out, width};
        add_visible(0, count, all, Page::values(page(first), after, n, s.scales), first, from > first ? from : first,
                    to < first + page_positions - 1 ? to : first + page_positions - 1, n);
      }
      return;
    }
    const int start = from - from % page_positions;
    for (int column = 0; column < n; column += panel_width) {
      for (int first = start; first <= to; first += page_positions)
        widened(Page::values(page(first), nullptr, n, s.scales), page_positions, column, n, s.panel + (first - start) * panel_width);
      const Rows all = {s.scores + start - block, block_positions, s.out + column, width};
      for_rows([&](int row, int rows) { add_visible(row, rows, all.from(row), Floats{s.panel}, start, from, to, panel_width); });
    }
  }

  void range(int from, int to) const {
    for (int i = 0; i < count; i++) s.ranges[i] = nothing;
    for (int i = 0; i < count * width; i += LANES) store(s.out + i, f32v{});
    for (int start = from - from % block_positions; start <= to; start += block_positions) {
      const int first = from > start ? from : start, last = to < start + block_positions ? to : start + block_positions - 1;
      const int first_page = first - first % page_positions;
      for (int position = first_page; position <= last; position += page_positions)
        score(position, position + page_positions <= last ? page(position + page_positions) : Page::values_of(page(first_page), n));
      const int positions = (last / page_positions + 1) * page_positions - first_page;
      for (int i = 0; i < count; i++)
        if (high(i) >= first)
          soften(s.scores + i * block_positions + first_page - start, first_page, positions, from, high(i), s.ranges[i], s.out + i * width, n);
      add_values(first, last, last < to ? page(last + 1) : nullptr);
    }
  }
};

template <class Page>
void compute(const Piece& piece, const Tile& tile, Scratch& s, const float* q, float* y, AttentionShape shape, float scale,
             const int* rows, const double* pages, float* partials) {
  const int n = shape.head_dim, count = tile.tokens * piece.heads, width = (n + panel_width - 1) / panel_width * panel_width;
  const int kv_head = piece.head / (shape.heads / shape.kv_heads), last = tile.position + tile.tokens - 1;
  const Work<Page> work = {piece, tile, s, n, count, width, pages, page_bytes(shape) / shape.kv_heads * kv_head};

  const auto at = [&](int i) {
    return ((int64_t)rows[tile.rows_from + i / piece.heads] * shape.heads + piece.head + i % piece.heads) * n;
  };
  for (int i = 0; i < count; i++) {
    store_row(q + at(i), scale, s.q + i * n, n);
    s.states[i] = nothing;
  }
  for (int range = piece.range_from; range < piece.range_to; range++) {
    const int start = range * range_positions, end = start + range_positions - 1;
    work.range(start > tile.low ? start : tile.low, end < last ? end : last);
    for (int i = 0; i < count; i++) merge(s.states[i], s.whole + i * width, s.ranges[i], s.out + i * width, n);
  }
  for (int i = 0; i < count; i++) {
    const State state = s.states[i];
    if (piece.partial < 0) {
      store_row(s.whole + i * width, 1.0f / state.sum, y + at(i), n);
    } else {
      float* partial = partials + (int64_t)(piece.partial + i) * (n + 4);
      partial[0] = state.maximum;
      partial[1] = state.sum;
      if (state.sum != 0) store_row(s.whole + i * width, 1, partial + 4, n);
    }
  }
}

/// What is done with pages of one form.
struct Form {
  size_t (*part_bytes)(int n);
  void (*put)(const float* key, const float* value, int n, uint8_t* page, int slot);
  decltype(&compute<BytePage>) compute;
};
template <class Page>
constexpr Form form_of = {Page::part_bytes, Page::put, compute<Page>};

const Form& form(PageFormat format) {
  switch (format) {
    case PageFormat::F32: return form_of<PlainPage<float>>;
    case PageFormat::F16: return form_of<PlainPage<uint16_t>>;
    case PageFormat::Q8_0: return form_of<BytePage>;
  }
  __builtin_trap();
}

}  // namespace

size_t page_bytes(AttentionShape shape) { return 2 * form(shape.format).part_bytes(shape.head_dim) * shape.kv_heads; }

void append(const float* keys, const float* values, int tokens, AttentionShape shape, const double* pages, const int* positions,
            Team team) {
  const int n = shape.head_dim;
  const int64_t row = (int64_t)shape.kv_heads * n;
  const size_t part = page_bytes(shape) / shape.kv_heads;
  const auto put = form(shape.format).put;
  for (int token; (token = claim(team, 1)) < tokens;)
    for (int head = 0; head < shape.kv_heads; head++) {
      const int64_t from = token * row + (int64_t)head * n;
      put(keys + from, values + from, n, (uint8_t*)(uintptr_t)pages[token] + part * head, positions[token] % page_positions);
    }
}

void attention(const float* q, float* y, AttentionShape shape, float scale, const Tile* tiles, const Piece* pieces, int count,
               const int* rows, const double* pages, float* partials, Team team) {
  Scratch scratch;
  const auto computed = form(shape.format).compute;
  for (int i; (i = claim(team, 1)) < count;)
    computed(pieces[i], tiles[pieces[i].tile], scratch, q, y, shape, scale, rows, pages, partials);
}

void attention_merge(float* y, AttentionShape shape, const Merge* merges, int count, const float* partials, Team team) {
  const int n = shape.head_dim;
  alignas(64) float out[most_width], from[most_width] = {};
  for (int i; (i = claim(team, 1)) < count;) {
    const Merge& m = merges[i];
    State state = nothing;
    for (int range = 0; range < m.ranges; range++) {
      const float* partial = partials + (int64_t)(m.partial + range * m.stride) * (n + 4);
      if (partial[1] == 0) continue;
      for (int d = 0; d < n; d++) from[d] = partial[4 + d];
      merge(state, out, {partial[0], partial[1]}, from, n);
    }
    store_row(out, 1.0f / state.sum, y + ((int64_t)m.row * shape.heads + m.head) * n, n);
  }
}
