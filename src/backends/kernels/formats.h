// How packed blocks of each storage format are taken apart. Sixteen rows are packed as one tile: block after block, and within a
// block field after field, each field of all sixteen rows side by side. So a lane is a row, and every format reads its fields as
// if there were one row only. Source of the layouts: ggml-common.h and ggml-quants.c (ggml-org/ggml).
#pragma once
#include "simd.h"
// Made by scripts/build-kernels.ts from src/backends/formats-tables.ts.
#include "formats-tables.h"

/** Rows of a tile. */
constexpr int tile_rows = 16;

/** The packed block of some lanes' rows. A field at byte `at` of a block, in the order of its format's `fields`, is at byte 16 · at of the packed block. */
struct Rows {
  const uint8_t* block;
  int first;  // of the tile's rows
  INLINE u32v word(int at) const { return load<u32v>(block + tile_rows * at + 4 * first); }
  INLINE u32v short_word(int at) const { return __builtin_convertvector(load<u16h>(block + tile_rows * at + 2 * first), u32v); }
  INLINE f32v half(int at) const { return load_halves(block + tile_rows * at + 2 * first); }
  INLINE u32v byte(int at) const {
    typedef uint8_t Bytes __attribute__((vector_size(LANES)));
    return __builtin_convertvector(load<Bytes>(block + tile_rows * at + first), u32v);
  }
};

/** `count` fields of `width` bytes that lie at byte `from` of a block in the file; without it, behind those before them. */
struct Fields {
  int width, count, from = -1;
};

/** Thirty-two numbers of each row: q[j] holds numbers 4j … 4j + 3, one row a lane. A number is scale · (q − offset) − minimum. */
struct Part {
  u8v q[8];
  f32v scale[2];    // of the first and the last sixteen; where spans is 1, of all
  f32v minimum[2];  // where there are minimums
};

/**
 * What a format struct F tells:
 * parts: blocks of 32 in one of its blocks; bytes: of a block in the file; fields: in the order in which they are packed;
 * spans: 2 if each sixteen numbers have their own scale; largest: q is 0 … largest; offset, minimums: see `Part`;
 * in_order: parts read a block nearly from its beginning to its end;
 * distinct: after so many parts the code repeats, with `turn` one higher;
 * Head and head(rows): what all parts of a block share;
 * part<s>(rows, head, turn, part): part turn · distinct + s.
 */
struct Format {
  static constexpr int parts = 1, spans = 1, offset = 0, distinct = 1;
  static constexpr bool minimums = false, in_order = false;
  struct Head {};
  static INLINE Head head(const Rows&) { return {}; }
};

/** A format whose blocks have one half at byte `at` for all their scales. */
template <int at>
struct FormatWithUnit : Format {
  struct Head {
    f32v unit;
  };
  static INLINE Head head(const Rows& rows) { return {rows.half(at)}; }
};

INLINE u8v low_nibbles(u32v a) { return (u8v)(a & 0x0f0f0f0fu); }
INLINE u8v high_nibbles(u32v a) { return (u8v)((a >> 4) & 0x0f0f0f0fu); }
/** Bit i of the low four, as byte i: 0 or 1. */
INLINE u32v spread_bits(u32v a) { return ((a & 15) * 0x00204081u) & 0x01010101u; }
/** Some bits of each byte, moved `right` (or left, if negative) to the place of `mask`. */
template <int right>
INLINE u8v bits_of(u32v a, uint32_t mask) {
  if constexpr (right >= 0) return (u8v)((a >> right) & mask);
  return (u8v)((a << -right) & mask);
}
/** Bits [from, from + bits) of each lane as floats. */
template <int bits>
INLINE f32v field(u32v a, int from) {
  return to_float((i32v)((a >> from) & ((1u << bits) - 1)));
}

/** Sixteen bytes of nibbles from byte `at` on: the low ones are the first 16 numbers. */
INLINE void nibbles(const Rows& rows, int at, Part& p) {
  for (int j = 0; j < 4; j++) {
    const u32v q = rows.word(at + 4 * j);
    p.q[j] = low_nibbles(q);
    p.q[j + 4] = high_nibbles(q);
  }
}

/** The same, as indices of a table. */
INLINE void nibble_lookup(const uint8_t* table, const Rows& rows, int at, Part& p) {
  nibbles(rows, at, p);
  for (int j = 0; j < 8; j++) p.q[j] = lookup(table, p.q[j]);
}

constexpr int vectors_of_tile = tile_rows / lanes;
/** Bytes ahead of which weights are asked for. Nearer, memory's delay shows; farther, they are gone from the first-level cache again. */
constexpr int ahead_of_one_row = 12288, ahead_of_many_rows = 8192;

/** Set by `choose_prefetch`. */
inline constinit bool asks_ahead = can_prefetch;

/**
 * Before one row takes a packed block apart: fields are read in another order than they lie, and across cache lines, which processors
 * do not foresee. So what lies `ahead` bytes on is asked for, or each line of a long block is read first, in order, which they do foresee.
 * Where parts read nearly in order that costs a twentieth of native code's speed; of WebAssembly's it is not known.
 */
template <class F, int ahead>
INLINE void foresee_block(const uint8_t* block) {
  if (can_prefetch && asks_ahead)
    for (int at = 0; at < tile_rows * F::bytes; at += 64) prefetch_once(block + ahead + at);
  else if (F::parts > 1 && !(can_prefetch && F::in_order))
    for (int at = 0; at < tile_rows * F::bytes; at += 64) touch(block + at);
}

/** Before many rows take the n-th part of a packed block: where asking far ahead does not pay, the same part of the next block is asked for. */
template <class F>
INLINE void foresee_part(const uint8_t* block, int n) {
  constexpr int share = tile_rows * F::bytes / F::parts;
  if (!can_prefetch || asks_ahead) {
    if (n == 0) foresee_block<F, ahead_of_many_rows>(block);
  } else if (F::parts > 1) {
    for (int at = 0; at < share; at += 64) prefetch(block + tile_rows * F::bytes + n * share + at);
  }
}
