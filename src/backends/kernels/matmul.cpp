// Products of stored matrices with rows of activations: the work is cut into pieces for the team and given to the kernels.
#include "matmul.h"
#include "formats-tables.h"
#include "matmul-float.h"
#include "quantized-kernels.h"

Constants constants = {
    .low_nibbles = splat8(15),
    .low_pairs = splat8(3),
    .third_pairs = splat8(3 << 4),
    .third_bits = splat8(1 << 2),
    .fifth_bits = splat8(1 << 4),
    .bit_of_byte = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128},
    .first_two_bytes = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
    .last_two_bytes = {2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3},
    .iq4_values = load<u8x16>(iq4_values),
    .half_bits = splat32((int)0x8fffe000),
    .half_bias = splat(0x1p112f),
    .half_bias_back = splat(0x1p-112f),
    .four = splat(4),
};

#define EXPORT(name) __attribute__((export_name(#name)))

namespace {

/**
 * Weight rows in one piece of work: some tens of kilobytes to be worth a ticket and to be foreseen by the processor, but few
 * enough that small matrices are shared out evenly. A multiple of four.
 */
int rows_in_piece(size_t row_stride, int out, int threads) {
  const size_t by_size = (size_t)65536 / (row_stride + 1), evenly = (size_t)out / (8 * threads);
  const size_t rows = by_size < evenly ? by_size : evenly;
  return rows < 8 ? 8 : rows > 128 ? 128 : (int)(rows & ~(size_t)3);
}

/** Which lowering of the relaxed dot product is the faster here: see matmul.h. */
bool wide_dot = false;
/** See matmul.h. */
int words_below = 2048;

/** The kernels of a quantized format; null for any other. */
const QuantizedKernels* quantized_kernels(int format) {
  switch (format) {
    case Q4_0: return &kernels_q4_0;
    case Q4_1: return &kernels_q4_1;
    case Q5_0: return &kernels_q5_0;
    case Q5_1: return &kernels_q5_1;
    case Q8_0: return &kernels_q8_0;
    case Q2_K: return &kernels_q2_k;
    case Q3_K: return &kernels_q3_k;
    case Q4_K: return &kernels_q4_k;
    case Q5_K: return &kernels_q5_k;
    case Q6_K: return &kernels_q6_k;
    case IQ4_NL: return &kernels_iq4_nl;
    case IQ4_XS: return &kernels_iq4_xs;
    case IQ3_S: return &kernels_iq3_s;
    case IQ3_XXS: return &kernels_iq3_xxs;
    default: return nullptr;
  }
}

/** One product as the pieces see it: some rows of x (all, when index is null) with one matrix. */
struct Product {
  const QuantizedKernels* kernels;  // null for floats
  const uint8_t* w;
  int out, in;
  const void* x;
  int rows;
  const int* index;
  int count;
  float* y;
};

/** Most rows a pass over the weights serves: their part of a block must stay in the first-level cache. */
constexpr int most_rows = 64;

/** Whether −128 is among the signed bytes of parts 0 … parts − 1. */
bool holds_minus_128(const Unpacked& u, int parts) {
  u8x16 found = {};
  for (int s = 0; s < parts; s++)
    for (int r = 0; r < 4; r++) found |= (u8x16)((u.a[s][r] == 128) | (u.b[s][r] == 128));
  return any(found);
}

/** Four weight rows times rows index[0] … index[count − 1] of x, count ≤ most_rows. */
void many_rows(const QuantizedKernels& kernels, const FourRows& w, int in, const RoundedRows& x, const int* index, int count,
               f32x4* results, const uint8_t* ahead) {
  const size_t block = block_bytes(x.form);
  size_t offsets[most_rows];
  for (int i = 0; i < count; i++) {
    offsets[i] = (size_t)index[i] * block;
    results[i] = splat(0);
  }
  QuantizedKernels::AddRows* const usual = x.form == Form::words        ? kernels.add_words
                                           : x.form == Form::bytes_wide ? kernels.add_wide_bytes
                                                                        : kernels.add_bytes;
  const bool may_hold_128 = kernels.add_with_128 && x.form != Form::words;
  const int parts = kernels.elements / 32, blocks_at_once = 8 / parts, blocks = in / kernels.elements;
  Unpacked u;
  for (int first = 0; first < blocks; first += blocks_at_once) {
    const int now = blocks - first < blocks_at_once ? blocks - first : blocks_at_once;
    kernels.unpack(w, first, now, u, ahead);
    QuantizedKernels::AddRows* const add = may_hold_128 && holds_minus_128(u, now * parts) ? kernels.add_with_128 : usual;
    add(u, now * parts, x.rows, x.blocks + (size_t)first * parts * x.rows * block, offsets, count, results);
  }
}

INLINE void store_results(f32x4 results, float* y, int valid) {
  if (valid == 4) {
    store(y, results);
  } else {
    for (int r = 0; r < valid; r++) y[r] = results[r];
  }
}

/** Weight rows from … to − 1 of the product. `kernel(rows, index, count, results, ahead)` multiplies four of them. */
template <int most, class Kernel>
INLINE void multiply(const Product& p, size_t row_stride, int from, int to, Kernel&& kernel) {
  for (int first = 0; first < p.count; first += most) {
    const int count = p.count - first < most ? p.count - first : most;
    int all[most];
    const int* index = p.index ? p.index + first : all;
    if (!p.index)
      for (int i = 0; i < count; i++) all[i] = first + i;
    for (int o = from; o < to; o += 4) {
      const int valid = to - o < 4 ? to - o : 4;
      FourRows w;
      for (int r = 0; r < 4; r++) w.row[r] = p.w + (size_t)(o + (r < valid ? r : valid - 1)) * row_stride;
      f32x4 results[most];
      const uint8_t* ahead = p.out < 4 ? nullptr : p.w + (size_t)(o + 8 <= p.out ? o + 4 : p.out - 4) * row_stride;
      kernel(w, index, count, results, ahead);
      for (int i = 0; i < count; i++) store_results(results[i], p.y + (size_t)index[i] * p.out + o, valid);
    }
  }
}

void quantized_piece(const Product& p, int from, int to) {
  const QuantizedKernels& kernels = *p.kernels;
  const bool words = p.in < words_below;
  const Form form = words ? Form::words : wide_dot ? Form::bytes_wide : Form::bytes;
  const RoundedRows x = {(const char*)p.x, (size_t)p.rows, form};
  QuantizedKernels::OneRow* const one_row = words ? kernels.one_row_of_words : kernels.one_row_of_bytes;
  const size_t block = block_bytes(form);
  multiply<most_rows>(p, (size_t)(p.in / kernels.elements) * kernels.bytes, from, to,
                      [&](const FourRows& w, const int* index, int count, f32x4* results, const uint8_t* ahead) __attribute__((always_inline)) {
                        if (count > 1 || !ahead)
                          many_rows(kernels, w, p.in, x, index, count, results, ahead);
                        else
                          results[0] = one_row(w, p.in, x.blocks + index[0] * block, x.rows, ahead);
                      });
}

template <class F>
void float_piece(const Product& p, int from, int to) {
  multiply<most_float_rows>(p, (size_t)p.in * F::bytes, from, to,
                            [&](const FourRows& w, const int* index, int count, f32x4* results, const uint8_t*) __attribute__((always_inline)) {
                              const float* x = (const float*)p.x;
                              if (count == 1)
                                results[0] = one_float_row<F>(w.row, p.in, x + (size_t)index[0] * p.in);
                              else
                                many_float_rows<F>(w.row, p.in, x, index, count, results);
                            });
}

using Piece = void (*)(const Product&, int, int);

/** Null for a format not in the list. */
Piece piece_of(int format) {
  switch (format) {
    case F32: return float_piece<FormatF32>;
    case F16: return float_piece<FormatF16>;
    case BF16: return float_piece<FormatBF16>;
    default: return quantized_kernels(format) ? quantized_piece : nullptr;
  }
}

void dequantize(const QuantizedKernels& kernels, const uint8_t* row, int n, float* out) {
  const FourRows rows = {{row, row, row, row}};
  Unpacked u;
  for (int block = 0; block < n / kernels.elements; block++) {
    kernels.unpack(rows, block, 1, u, nullptr);
    for (int i = 0; i < kernels.elements; i++) {
      const int part = i >> 5, span = part * kernels.spans + ((i >> 4) & (kernels.spans - 1));
      const int byte = i & 16 ? u.b[part][0][i & 15] : u.a[part][0][i & 15];
      const float value = u.scale[span][0] * (float)(kernels.is_signed ? (int8_t)byte : byte - kernels.offset);
      *out++ = kernels.minimums ? value - u.minimum[span][0] : value;
    }
  }
}

template <class F>
void convert(const uint8_t* row, int n, float* out) {
  for (int i = 0; i < n; i++) out[i] = F::one(row + (size_t)i * F::bytes);
}

template <class Q>
RoundedBlock<Q> quantize(const float* x) {
  constexpr float limit = sizeof(Q) == 1 ? 127 : 32767;
  f32x4 values[8], largest = splat(0);
  for (int i = 0; i < 8; i++) {
    values[i] = load<f32x4>(x + 4 * i);
    largest = larger(largest, absolute(values[i]));
  }
  largest = larger(largest, __builtin_shufflevector(largest, largest, 2, 3, 0, 1));
  largest = larger(largest, __builtin_shufflevector(largest, largest, 1, 0, 3, 2));
  const float most = largest[0];
  RoundedBlock<Q> block = {};
  if (!(most <= 3.4028235e38f)) {
    block.scale = __builtin_nanf("");
    return block;
  }
  if (most < 1e-33f) return block; // limit / most must be finite, and so little adds nothing
  block.scale = most / limit;
  const f32x4 inverse = splat(limit / most);
  i32x4 sums[2] = {};
  for (int i = 0; i < 8; i++) {
    const i32x4 q = round_to_int(values[i] * inverse);
    sums[i >> 2] += q;
    for (int j = 0; j < 4; j++) block.q[4 * i + j] = (Q)q[j];
  }
  const int low = (sums[0][0] + sums[0][1]) + (sums[0][2] + sums[0][3]);
  const int high = (sums[1][0] + sums[1][1]) + (sums[1][2] + sums[1][3]);
  block.low_sum = (float)low;
  block.high_sum = (float)high;
  block.sum = (float)(low + high);
  return block;
}

} // namespace

size_t row_bytes(int format, int n) {
  size_t bytes = format == F32 ? 4 * (size_t)n : format == F16 || format == BF16 ? 2 * (size_t)n : 0;
  if (const QuantizedKernels* kernels = quantized_kernels(format))
    bytes = (size_t)(n / kernels->elements) * kernels->bytes;
  return bytes;
}

int activation_bits(int format, int in) {
  return !quantized_kernels(format) ? 32 : in < words_below ? 16 : 8;
}

size_t rounded_row_bytes(int bits, int n) {
  return (size_t)(n / 32) * block_bytes(bits == 16 ? Form::words : Form::bytes);
}

void choose_words(int below) { words_below = below; }

void choose_dot(int form) { wide_dot = form; }

void measure_dot(int form, int iterations) {
  constexpr int in = 256, rows = 16;
  static const uint8_t weights[in / 32 * 18] = {}; // Q4_0
  static const BlockOf<Form::bytes> activations[in / 32 * rows] = {};
  static const int index[rows] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const FourRows w = {{weights, weights, weights, weights}};
  const RoundedRows x = {(const char*)activations, rows, form ? Form::bytes_wide : Form::bytes};
  f32x4 results[rows];
  for (int i = 0; i < iterations; i++)
    many_rows(kernels_q4_0, w, in, x, index, rows, results, nullptr);
  *(volatile float*)results = results[0][0]; // or nothing would be computed
}

template <class Q>
void quantize_team(const float* x, int rows, int n, RoundedBlock<Q>* blocks, Team team) {
  constexpr size_t piece = 32; // blocks
  const size_t row_blocks = (size_t)n / 32, all = (size_t)rows * row_blocks;
  for (size_t first = claim(team, 1) * piece; first < all; first = claim(team, 1) * piece)
    for (size_t i = first; i < first + piece && i < all; i++)
      blocks[i % row_blocks * rows + i / row_blocks] = quantize<Q>(x + 32 * i);
}

EXPORT(quantize_rows) void quantize_rows(int bits, const float* x, int rows, int n, void* rounded, Team team) {
  if (bits == 16) return quantize_team(x, rows, n, (RoundedBlock<int16_t>*)rounded, team);
  return quantize_team(x, rows, n, (RoundedBlock<int8_t>*)rounded, team);
}

EXPORT(matmul)
void matmul(int format, const void* w, int out, int in, const void* x, int rows, float* y, Team team) {
  const Piece piece = piece_of(format);
  if (!piece) return;
  const Product product = {quantized_kernels(format), (const uint8_t*)w, out, in, x, rows, nullptr, rows, y};
  const int piece_rows = rows_in_piece(row_bytes(format, in), out, team.threads);
  for (int from = claim(team, 1) * piece_rows; from < out; from = claim(team, 1) * piece_rows)
    piece(product, from, from + piece_rows < out ? from + piece_rows : out);
}

size_t expert_scratch_bytes(int experts, int rows, int threads) {
  return (size_t)threads * ((size_t)experts + 1 + rows) * sizeof(int);
}

EXPORT(expert_matmul)
void expert_matmul(int format, const void* w, int experts, int out, int in, const void* x, int rows, const int* slots,
                   float* y, void* scratch, Team team) {
  const Piece piece = piece_of(format);
  if (!piece) return;
  const QuantizedKernels* const kernels = quantized_kernels(format);
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

  const size_t matrix = (size_t)out * row_bytes(format, in);
  const int piece_rows = rows_in_piece(row_bytes(format, in), out, team.threads);
  const int pieces = (out + piece_rows - 1) / piece_rows;
  int expert = 0, base = 0; // `base` tickets are spent on the experts before this one
  for (int ticket = claim(team, 1);; ticket = claim(team, 1)) {
    for (; expert <= experts; expert++) {
      const bool any = end[expert] > (expert ? end[expert - 1] : 0);
      if (any && ticket < base + pieces) break;
      if (any) base += pieces;
    }
    if (expert > experts) return;
    const int from = (ticket - base) * piece_rows, to = from + piece_rows < out ? from + piece_rows : out;
    const int first = expert ? end[expert - 1] : 0, count = end[expert] - first;
    if (expert == experts) {
      for (int i = first; i < first + count; i++)
        for (int o = from; o < to; o++) y[(size_t)order[i] * out + o] = 0;
    } else {
      piece({kernels, (const uint8_t*)w + expert * matrix, out, in, x, rows, order + first, count, y}, from, to);
    }
  }
}

EXPORT(dequantize_row) void dequantize_row(int format, const void* row, int n, float* out) {
  const uint8_t* bytes = (const uint8_t*)row;
  switch (format) {
    case F32: return convert<FormatF32>(bytes, n, out);
    case F16: return convert<FormatF16>(bytes, n, out);
    case BF16: return convert<FormatBF16>(bytes, n, out);
  }
  if (const QuantizedKernels* kernels = quantized_kernels(format)) dequantize(*kernels, bytes, n, out);
}
