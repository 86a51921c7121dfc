// Products of stored matrices with rows of activations: the work is cut into pieces for the team and given to the kernels.
#include "matmul.h"
#include "activations.h"
#include "matmul-float.h"
#include "quantized.h"

namespace {

/** See matmul.h. */
int dot_form = 0;

/** One product as the pieces see it: some rows of x (all, when index is null) with one matrix. */
struct Product {
  int format, out, in;
  const uint8_t* w;
  const void* x;
  int bits, rows;
  const int* index;
  int count;
  float* y;
};

/** Tiles that a kernel is given together. */
constexpr int tiles_at_once = 2;

/** Tiles from … to − 1 of a matrix. */
struct Stretch {
  int from, to;
};

/** Cuts a product into pieces of work: long ones first, since memory is foreseen only after a start, and short ones last, which are waited for. */
struct Pieces {
  int tiles, threads;
  int most; // tiles in one piece: more rows than a kernel takes at once read it again, from a near cache
  int count;

  Pieces(int out, size_t row_bytes, int rows, int threads) : tiles((out + tile_rows - 1) / tile_rows), threads(threads) {
    const int cached = (int)((1 << 20) / (row_bytes * tile_rows + 1)) & ~1;
    most = rows <= most_rows ? tiles : cached < tiles_at_once ? tiles_at_once : cached;
    count = 0;
    for (int from = 0; from < tiles;) {
      const int size = longest(from), round = size > tiles_at_once ? threads : (tiles - from + size - 1) / size;
      count += round;
      from += round * size;
    }
  }

  /** Threads share three quarters of the tiles evenly, then three quarters of the others, and so on. Past the last it is empty. */
  Stretch piece(int n) const {
    for (int from = 0;; from += threads * longest(from), n -= threads) {
      const int size = longest(from);
      if (n >= threads && size > tiles_at_once) continue;
      const int start = from + n * size < tiles ? from + n * size : tiles;
      return {start, start + size < tiles ? start + size : tiles};
    }
  }

 private:
  int longest(int from) const {
    const int share = (tiles - from) * 3 / (4 * threads) & ~1, size = share < most ? share : most;
    return size < tiles_at_once ? tiles_at_once : size;
  }
};

/** `valid` of a tile's sixteen results for each of `count` rows. */
void store_results(const float* results, const Product& p, int first, int count, int o) {
  const int valid = p.out - o < tile_rows ? p.out - o : tile_rows;
  for (int i = 0; i < count; i++) {
    const int row = p.index ? p.index[first + i] : first + i;
    float* const y = p.y + (size_t)row * p.out + o;
    if (valid == tile_rows)
      __builtin_memcpy(y, results + i * tile_rows, tile_rows * sizeof(float));
    else
      for (int r = 0; r < valid; r++) y[r] = results[i * tile_rows + r];
  }
}

/** Tiles from … to − 1 of the product. */
void quantized_piece(const Quantized& format, const Product& p, int from, int to) {
  const int digits = p.bits / 8, blocks = p.in / format.elements;
  const size_t x_bytes = rounded_row_bytes(p.bits, 32), stride = p.rows * x_bytes;
  const size_t tile_bytes = (size_t)blocks * format.bytes * tile_rows;
  const uint8_t* const x = (const uint8_t*)p.x;
  alignas(64) float results[tiles_at_once * most_rows * tile_rows];
  for (int first = 0; first < p.count; first += most_rows) {
    const int count = p.count - first < most_rows ? p.count - first : most_rows;
    uint32_t offsets[most_rows];
    for (int i = 0; i < count; i++) offsets[i] = (uint32_t)((p.index ? p.index[first + i] : first + i) * x_bytes);
    for (int t = from; t < to; t += tiles_at_once) {
      const uint8_t* const tile = p.w + t * tile_bytes;
      const int tiles = to - t < tiles_at_once ? to - t : tiles_at_once;
      if (count == 1)
        for (int i = 0; i < tiles; i++)
          format.one_row[digits - 1][dot_form](tile + i * tile_bytes, blocks, x + offsets[0], stride, results + i * tile_rows);
      else
        format.many_rows[digits - 1][dot_form](tile, tiles, tile_bytes, blocks, x, stride, offsets, count, results);
      for (int i = 0; i < tiles; i++) store_results(results + i * count * tile_rows, p, first, count, (t + i) * tile_rows);
    }
  }
}

/** The same of a matrix that is not packed. */
template <class F>
void float_piece(const Product& p, int from, int to) {
  const int o = from * tile_rows, rows = (to * tile_rows < p.out ? to * tile_rows : p.out) - o;
  float_rows<F>(p.w + (size_t)o * p.in * F::bytes, rows, p.in, (const float*)p.x, p.index, p.count, p.y + o, (size_t)p.out);
}

void piece(const Product& p, int from, int to) {
  if (const Quantized* const format = quantized(p.format)) return quantized_piece(*format, p, from, to);
  switch (p.format) {
    case 0: return float_piece<FormatF32>(p, from, to);
    case 1: return float_piece<FormatF16>(p, from, to);
    case 30: return float_piece<FormatBF16>(p, from, to);
  }
}

template <class F>
void convert(const uint8_t* row, int n, float* y) {
  int i = 0;
  for (; i + LANES <= n; i += LANES) store(y + i, F::vector(row + (size_t)i * F::bytes));
  if (i == n) return;
  const f32v last = floats::tail<F>(row, i, n);
  for (int lane = 0; i < n; i++) y[i] = last[lane++];
}

template <int digits>
void quantize_team(const float* x, int rows, int n, Rounded<digits>* blocks, Team team) {
  // Reads follow a row, writes a block of all rows: a piece is a square, so that both touch few pages.
  constexpr int piece = 8;
  const int columns = n / 32, across = (columns + piece - 1) / piece, down = (rows + piece - 1) / piece;
  for (int i; (i = claim(team, 1)) < across * down;) {
    const int column = i % across * piece, row = i / across * piece;
    for (int r = row; r < row + piece && r < rows; r++)
      for (int c = column; c < column + piece && c < columns; c++)
        round_block(x + (size_t)r * n + 32 * c, blocks[(size_t)c * rows + r]);
  }
}

}  // namespace

int activation_bits(int format, int in, int words_below) { return !quantized(format) ? 32 : in < words_below ? 16 : 8; }

size_t rounded_row_bytes(int bits, int n) { return (size_t)(n / 32) * (bits == 16 ? sizeof(Rounded<2>) : sizeof(Rounded<1>)); }

void choose_dot(int form) { dot_form = form; }

void choose_prefetch(bool yes) { asks_ahead = yes; }

void measure_dot(int form, int iterations) {
  constexpr int in = 256, rows = 16;
  static const uint8_t weights[in / 32 * 18 * tile_rows] = {}; // Q4_0
  static const Rounded<1> activations[in / 32 * rows] = {};
  uint32_t offsets[rows];
  for (int i = 0; i < rows; i++) offsets[i] = (uint32_t)(i * sizeof(Rounded<1>));
  float results[rows * tile_rows];
  for (int i = 0; i < iterations; i++)
    quantized(2)->many_rows[0][form](weights, 1, sizeof weights, in / 32, (const uint8_t*)activations, sizeof(Rounded<1>) * rows, offsets, rows, results);
  *(volatile float*)results = results[0]; // or nothing would be computed
}

void quantize_rows(int bits, const float* x, int rows, int n, void* rounded, Team team) {
  if (bits == 16) return quantize_team(x, rows, n, (Rounded<2>*)rounded, team);
  return quantize_team(x, rows, n, (Rounded<1>*)rounded, team);
}

void matmul(int format, const void* w, int out, int in, const void* x, int bits, int rows, float* y, Team team) {
  const Product product = {format, out, in, (const uint8_t*)w, x, bits, rows, nullptr, rows, y};
  const Pieces pieces(out, row_bytes(format, in), rows, team.threads);
  for (int n; (n = claim(team, 1)) < pieces.count;) {
    const auto [from, to] = pieces.piece(n);
    piece(product, from, to);
  }
}

size_t expert_scratch_bytes(int experts, int rows, int threads) {
  return (size_t)threads * ((size_t)experts + 1 + rows) * sizeof(int);
}

void expert_matmul(int format, const void* w, int experts, int out, int in, const void* x, int bits, int rows,
                   const int* slots, float* y, void* scratch, Team team) {
  // Each thread sorts the rows by expert for itself, which is less work than to wait for another to do it.
  int* end = (int*)scratch + (size_t)team.thread * ((size_t)experts + 1 + rows); // end[e]: end of expert e's rows in `order`
  int* order = end + experts + 1;
  const auto group = [&](int row) { return (unsigned)slots[row] < (unsigned)experts ? slots[row] : experts; };
  for (int e = 0; e <= experts; e++) end[e] = 0;
  for (int row = 0; row < rows; row++) end[group(row)]++;
  for (int e = 0, start = 0; e <= experts; e++) {
    const int size = end[e];
    end[e] = start; // for now, the place of the next row
    start += size;
  }
  for (int row = 0; row < rows; row++) order[end[group(row)]++] = row;

  const size_t matrix = matrix_bytes(format, out, in);
  const Pieces pieces(out, row_bytes(format, in), rows, team.threads); // one expert may have them all
  int expert = 0, base = 0; // `base` tickets are spent on the experts before this one
  for (int ticket = claim(team, 1);; ticket = claim(team, 1)) {
    for (; expert <= experts; expert++) {
      const bool any = end[expert] > (expert ? end[expert - 1] : 0);
      if (any && ticket < base + pieces.count) break;
      if (any) base += pieces.count;
    }
    if (expert > experts) return;
    const auto [from, to] = pieces.piece(ticket - base);
    const int first = expert ? end[expert - 1] : 0, count = end[expert] - first;
    if (expert == experts) {
      const int last = to * tile_rows < out ? to * tile_rows : out;
      for (int i = first; i < first + count; i++)
        for (int o = from * tile_rows; o < last; o++) y[(size_t)order[i] * out + o] = 0;
    } else {
      piece({format, out, in, (const uint8_t*)w + expert * matrix, x, bits, rows, order + first, count, y}, from, to);
    }
  }
}

void dequantize_row(int format, const void* w, int out, int in, int64_t row, float* y) {
  const uint8_t* const bytes = (const uint8_t*)w + row / out * matrix_bytes(format, out, in);
  const int64_t r = row % out;
  const size_t stride = row_bytes(format, in);
  if (const Quantized* const known = quantized(format))
    return known->dequantize(bytes + r / tile_rows * tile_rows * stride, (int)(r % tile_rows), in / known->elements, y);
  switch (format) {
    case 0: return convert<FormatF32>(bytes + r * stride, in, y);
    case 1: return convert<FormatF16>(bytes + r * stride, in, y);
    case 30: return convert<FormatBF16>(bytes + r * stride, in, y);
  }
}
