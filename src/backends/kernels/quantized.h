// The quantized formats by their id: what is known of each, and its kernels.
#pragma once
#include "formats.h"

/** Most rows of activations a pass over a tile serves: their part of a block and their results must stay in the first-level cache. */
constexpr int most_rows = 64;

/** What `matmul.cpp` and `pack.cpp` know of a format. `tile` is a packed tile of sixteen rows. */
struct Quantized {
  int elements;  // of a block
  int bytes;     // of a block
  const Fields* fields;
  int field_count;

  /** A tile times one row of activations, whose blocks are `stride` bytes apart: results [16]. */
  using OneRow = void(const uint8_t* tile, int blocks, const uint8_t* x, size_t stride, float* results);
  /** `tiles` tiles, `tile_bytes` apart, times `count` ≤ most_rows rows, at byte offsets[i] of every row of blocks: results [tiles, count, 16]. */
  using ManyRows = void(const uint8_t* tile, int tiles, size_t tile_bytes, int blocks, const uint8_t* x, size_t stride,
                        const uint32_t* offsets, int count, float* results);
  // By digits − 1 and by the form of the dot product.
  OneRow* one_row[2][2];
  ManyRows* many_rows[2][2];
  /** Row `row` of a tile as numbers. */
  void (*dequantize)(const uint8_t* tile, int row, int blocks, float* y);
};

/** Null for a format that is not quantized or not known. Ids are those of GGUF (src/checkpoint/dtype.ts). */
const Quantized* quantized(int format);

extern const Quantized quantized_q4_0, quantized_q4_1, quantized_q5_0, quantized_q5_1, quantized_q8_0;
extern const Quantized quantized_q2_k, quantized_q3_k, quantized_q4_k, quantized_q5_k, quantized_q6_k;
extern const Quantized quantized_iq4_nl, quantized_iq4_xs, quantized_iq3_s, quantized_iq3_xxs;
extern const Quantized quantized_iq2_xxs, quantized_iq2_xs, quantized_iq2_s, quantized_iq1_s, quantized_iq1_m;
extern const Quantized quantized_tq1_0, quantized_tq2_0, quantized_q1_0, quantized_q2_0, quantized_mxfp4, quantized_nvfp4;
