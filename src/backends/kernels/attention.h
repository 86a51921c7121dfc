// Attention over paged keys and values: halves, floats or Q8_0 blocks. The host's attention.ts writes these structures.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "team.h"

/// Positions of one page. Page p of a sequence holds positions [32p, 32p + 32), and in it one part of `page_bytes / kv_heads` bytes
/// for each kv head: keys, as [head_dim][32] so that lanes are positions, and then values, as [32][head_dim].
///
/// F16: all are halves. F32: floats. Q8_0: all are signed bytes, and behind the keys are their scales, halves [blocks][32], and behind the values
/// theirs, [32][blocks]: one scale for each 32 numbers of a head, the last block being as short as it must, blocks =
/// ⌈head_dim / 32⌉. A number is byte · scale.
///
/// Pages need not be cleared: what is not visible to a row is never multiplied with anything of that row's, even by 0, so neither
/// old bytes that look like NaN nor another token's infinities reach it.
constexpr int page_positions = 32;

/// How a cache stores numbers, by the ids of GGUF.
enum class PageFormat : int { F32 = 0, F16 = 1, Q8_0 = 8 };

/// The keys of a row are summed in ranges of this many positions, and the ranges are then merged in ascending order. The ranges
/// depend on positions only, so a row's numbers are the same however the work was shared out.
constexpr int range_positions = 512;

/// Most (token, head) pairs computed together.
constexpr int most_rows = 32;
constexpr int most_head_dim = 256;

/// Consecutive tokens of one sequence within one chunk.
struct Tile {
  int32_t rows_from;   // index into `rows` of the first token's batch row; the others follow
  int32_t tokens;      // 1 … most_rows
  int32_t position;    // of the first token
  int32_t low;         // first visible position, the same for all tokens of the tile
  int32_t pages_from;  // index into `pages` of the page that holds `low`
};

/// One piece of work: some ranges of one tile, for one block of heads.
struct Piece {
  int32_t tile;
  int32_t head;        // first query head
  int32_t heads;       // how many; all share one kv head
  int32_t range_from;  // ranges [range_from, range_to)
  int32_t range_to;
  int32_t partial;     // row of `partials` for the piece's first (token, head), or −1: the piece is whole and writes to y
};

/// head_dim is a multiple of 4, at most most_head_dim; heads is a multiple of kv_heads.
struct AttentionShape {
  int heads, kv_heads, head_dim;
  PageFormat format = PageFormat::F16;
};

/// Bytes of one page of one layer: 128 · kv_heads · head_dim for F16.
size_t page_bytes(AttentionShape shape);

/// Stores keys and values [tokens, kv_heads, head_dim] into pages[t], at position positions[t]. Halves are bounded by ±65504; a
/// block of Q8_0 with an infinity or NaN becomes NaN.
void append(const float* keys, const float* values, int tokens, AttentionShape shape, const double* pages, const int* positions,
            Team team);

/// y[row, head] = softmax(q·kᵀ · scale)·v, or for split pieces: partials[i] = (maximum, sum, unnormalised output[head_dim]).
void attention(const float* q, float* y, AttentionShape shape, float scale, const Tile* tiles, const Piece* pieces, int count,
               const int* rows, const double* pages, float* partials, Team team);

/// Where the partial results of one (token, head) lie: `ranges` of them, `stride` rows of `partials` apart.
struct Merge {
  int32_t row;
  int32_t head;
  int32_t partial;
  int32_t stride;
  int32_t ranges;
};

/// Merges split pieces into y.
void attention_merge(float* y, AttentionShape shape, const Merge* merges, int count, const float* partials, Team team);
