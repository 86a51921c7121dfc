// What the team's side of a product knows of a quantized format: some numbers, and the kernels made for it, as a table.
#pragma once
#include "simd.h"

/** How activations are rounded and multiplied: as bytes, with sums of 16 or of 32 bits (see `measure_dot`), or as 16-bit words. */
enum class Form { bytes, bytes_wide, words };

/** 32 activations: scale · q, and the sums of q (of the first 16, the last 16, all), which minimums and offsets need. */
template <class Q>
struct RoundedBlock {
  Q q[32];
  float scale, low_sum, high_sum, sum;
};

template <Form form>
struct BlockOfForm {
  using type = RoundedBlock<int8_t>;
};
template <>
struct BlockOfForm<Form::words> {
  using type = RoundedBlock<int16_t>;
};
template <Form form>
using BlockOf = typename BlockOfForm<form>::type;

constexpr size_t block_bytes(Form form) {
  return form == Form::words ? sizeof(BlockOf<Form::words>) : sizeof(BlockOf<Form::bytes>);
}

/** `blocks` holds the first block of all `rows`, then the second of all … */
struct RoundedRows {
  const char* blocks;
  size_t rows;
  Form form;
};

/** Four rows of a matrix, taken apart together. A matrix's last rows may stand in for missing ones. */
struct FourRows {
  const uint8_t* row[4];
};

/** Four rows' next 256 weights (or what is left of them), taken apart. */
struct Unpacked {
  u8x16 a[8][4], b[8][4];
  f32x4 scale[16], minimum[16];
};

/** The kernels of one format. All formats' are in tables, so that they can be compiled apart and chosen once a product. */
struct QuantizedKernels {
  /** As in formats.h. */
  int elements, bytes, spans, offset;
  /** Whether numbers are signed bytes. */
  bool is_signed, minimums;

  /** Four weight rows times one row of activations, whose blocks start at x and are `step` blocks apart. Touches rows `ahead`. */
  using OneRow = f32x4(const FourRows& w, int in, const void* x, size_t step, const uint8_t* ahead);
  OneRow *one_row_of_bytes, *one_row_of_words;

  /** Takes `blocks` blocks of four rows apart, at most 256 numbers of each. Touches rows `ahead` if there are. */
  void (*unpack)(const FourRows& w, int first_block, int blocks, Unpacked& u, const uint8_t* ahead);

  /** results[i] += four rows' unpacked weights (32 · parts of each) times row i of activations, whose blocks are at blocks + offsets[i]. */
  using AddRows = void(const Unpacked& u, int parts, size_t rows, const char* blocks, const size_t* offsets, int count,
                       f32x4* results);
  AddRows *add_bytes, *add_wide_bytes, *add_words;
  /** Bytes, where −128 may be among the weights, which the others of bytes do not take; null if the format has none. */
  AddRows* add_with_128;
};

extern const QuantizedKernels kernels_q4_0, kernels_q4_1, kernels_q5_0, kernels_q5_1, kernels_q8_0;
extern const QuantizedKernels kernels_q2_k, kernels_q3_k, kernels_q4_k, kernels_q5_k, kernels_q6_k;
extern const QuantizedKernels kernels_iq4_nl, kernels_iq4_xs, kernels_iq3_s, kernels_iq3_xxs;
