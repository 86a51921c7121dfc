// Sixteen rows of a quantized matrix become a tile: see formats.h.
#include "pack.h"

#include "matmul.h"
#include "quantized.h"

namespace {

/** Bytes of the largest block. */
constexpr int most_block_bytes = 256;

typedef uint32_t Words __attribute__((vector_size(16)));

/** Four words of each of four rows: word i of all of them to packed + i · 64. */
INLINE void transpose(const uint8_t* rows, size_t stride, uint8_t* packed) {
  const Words a = load<Words>(rows), b = load<Words>(rows + stride), c = load<Words>(rows + 2 * stride), d = load<Words>(rows + 3 * stride);
  const Words ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Words ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  constexpr int next = tile_rows * sizeof(uint32_t);
  store(packed, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
  store(packed + next, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
  store(packed + 2 * next, __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5));
  store(packed + 3 * next, __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7));
}

template <class Word>
INLINE void interleave(const uint8_t* rows, size_t stride, int count, uint8_t* packed) {
  for (int i = 0; i < count; i++)
    for (int row = 0; row < tile_rows; row++)
      store(packed + (size_t)(i * tile_rows + row) * sizeof(Word), load<Word>(rows + row * stride + i * sizeof(Word)));
}

/** `count` words of each row. The last four may overlap those before them, which they write once more. */
INLINE void interleave_words(const uint8_t* rows, size_t stride, int count, uint8_t* packed) {
  if (count < 4) return interleave<uint32_t>(rows, stride, count, packed);
  for (int i = 0; i < count; i += 4) {
    const int word = (i + 4 <= count ? i : count - 4) * (int)sizeof(uint32_t);
    for (int row = 0; row < tile_rows; row += 4)
      transpose(rows + row * stride + word, stride, packed + (size_t)word * tile_rows + row * sizeof(uint32_t));
  }
}

/** One block of sixteen rows that are `stride` bytes apart. */
INLINE void pack_block(const Quantized& format, const uint8_t* rows, size_t stride, uint8_t* packed) {
  int next = 0;
  for (int f = 0; f < format.field_count; f++) {
    const auto [width, count, from] = format.fields[f];
    const uint8_t* const field = rows + (from < 0 ? next : from);
    if (width == 4) interleave_words(field, stride, count, packed);
    if (width == 2) interleave<uint16_t>(field, stride, count, packed);
    if (width == 1) interleave<uint8_t>(field, stride, count, packed);
    next += width * count;
    packed += (size_t)width * count * tile_rows;
  }
}

/** A tile of fewer than sixteen rows. */
void pack_last(const Quantized& format, const uint8_t* rows, int count, size_t stride, uint8_t* tile) {
  uint8_t block[tile_rows * most_block_bytes] = {};
  for (size_t at = 0; at < stride; at += format.bytes) {
    for (int row = 0; row < count; row++) __builtin_memcpy(block + row * format.bytes, rows + row * stride + at, format.bytes);
    pack_block(format, block, format.bytes, tile + at * tile_rows);
  }
}

}  // namespace

bool is_packed(int format) { return quantized(format) != nullptr; }

size_t row_bytes(int format, int n) {
  const Quantized* const known = quantized(format);
  if (known) return (size_t)(n / known->elements) * known->bytes;
  return (size_t)n * (format == 0 ? 4 : format == 1 || format == 30 ? 2 : 0);
}

size_t matrix_bytes(int format, int out, int in) {
  const size_t rows = is_packed(format) ? ((size_t)out + tile_rows - 1) / tile_rows * tile_rows : (size_t)out;
  return rows * row_bytes(format, in);
}

void pack_rows(int format, const void* rows, int count, int in, void* packed) {
  const Quantized* const known = quantized(format);
  const size_t stride = row_bytes(format, in), tile_bytes = stride * tile_rows;
  const uint8_t* from = (const uint8_t*)rows;
  uint8_t* tile = (uint8_t*)packed;
  if (!known) {
    __builtin_memcpy(tile, from, count * stride);
    return;
  }
  for (; count >= tile_rows; count -= tile_rows, from += tile_bytes, tile += tile_bytes)
    for (size_t at = 0; at < stride; at += known->bytes) pack_block(*known, from + at, stride, tile + at * tile_rows);
  if (count > 0) pack_last(*known, from, count, stride, tile);
}

void pack(int format, const void* rows, int out, int in, void* w, Team team) {
  const size_t tile_bytes = row_bytes(format, in) * tile_rows;
  const int tiles = (out + tile_rows - 1) / tile_rows, at_once = tile_bytes < 65536 ? (int)(65536 / (tile_bytes + 1)) + 1 : 1;
  for (int from; (from = claim(team, at_once)) < tiles;) {
    const int row = from * tile_rows, count = at_once * tile_rows < out - row ? at_once * tile_rows : out - row;
    pack_rows(format, (const uint8_t*)rows + from * tile_bytes, count, in, (uint8_t*)w + from * tile_bytes);
  }
}
