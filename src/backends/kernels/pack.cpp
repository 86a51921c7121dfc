// Sixteen rows of a quantized matrix become a tile, in place: see formats.h.
#include "matmul.h"
#include "quantized.h"

namespace {

template <class Word>
void interleave(const uint8_t* rows, size_t row_stride, int count, uint8_t* packed) {
  for (int row = 0; row < tile_rows; row++, rows += row_stride)
    for (int i = 0; i < count; i++)
      store(packed + (size_t)(i * tile_rows + row) * sizeof(Word), load<Word>(rows + i * sizeof(Word)));
}

void pack_tile(const Quantized& format, const uint8_t* rows, size_t row_stride, uint8_t* tile) {
  for (size_t at = 0; at < row_stride;)
    for (int f = 0; f < format.field_count; f++) {
      const auto [width, count] = format.fields[f];
      if (width == 4) interleave<uint32_t>(rows + at, row_stride, count, tile + at * tile_rows);
      if (width == 2) interleave<uint16_t>(rows + at, row_stride, count, tile + at * tile_rows);
      if (width == 1) interleave<uint8_t>(rows + at, row_stride, count, tile + at * tile_rows);
      at += (size_t)width * count;
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

size_t pack_scratch_bytes(int format, int in, int threads) {
  return is_packed(format) ? (size_t)threads * tile_rows * row_bytes(format, in) : 0;
}

void pack(int format, void* w, int out, int in, void* scratch, Team team) {
  const Quantized* const known = quantized(format);
  if (!known) return;
  const size_t row = row_bytes(format, in), tile_bytes = row * tile_rows;
  uint8_t* const rows = (uint8_t*)scratch + team.thread * tile_bytes;
  const int tiles = (out + tile_rows - 1) / tile_rows, at_once = tile_bytes < 65536 ? (int)(65536 / (tile_bytes + 1)) + 1 : 1;
  for (int from; (from = claim(team, at_once)) < tiles;)
    for (int t = from; t < from + at_once && t < tiles; t++) {
      uint8_t* const tile = (uint8_t*)w + t * tile_bytes;
      const int whole = out - t * tile_rows;
      const size_t held = whole < tile_rows ? whole * row : tile_bytes;
      __builtin_memcpy(rows, tile, held);
      __builtin_memset(rows + held, 0, tile_bytes - held);
      pack_tile(*known, rows, row, tile);
    }
}
