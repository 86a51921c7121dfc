// What every encoder is: a function of one row. Their forms in TypeScript, in ../reference, say what they do.
#pragma once
#include "search.h"

struct Row {
  const float* x;
  int64_t columns;
  /** Importance of the columns, or null. */
  const float* importance;
  uint8_t* out;
  /** Room for 2 · columns + 1024 floats. */
  float* scratch;
  /** What `make_grid` made, for the formats that have a grid. */
  const void* grid;
};

using Encode = void (*)(const Row&);

/** ggml's ids of tensor types. */
enum Format : int {
  F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14,
  IQ2_XXS = 16, IQ2_XS = 17, IQ3_XXS = 18, IQ1_S = 19, IQ4_NL = 20, IQ3_S = 21, IQ2_S = 22, IQ4_XS = 23, IQ1_M = 29, BF16 = 30,
  TQ1_0 = 34, TQ2_0 = 35, MXFP4 = 39, NVFP4 = 40, Q1_0 = 41, Q2_0 = 42,
};

/** Each null for formats of other files. */
Encode encoder_of_32(int format);
Encode encoder_of_256(int format);
Encode encoder_of_small(int format);
Encode encoder_of_iq4(int format);
Encode encoder_of_grid(int format);
Encode encoder_of_iq1(int format);

/** Bytes of the grid of a format, 0 where it has none; and the grid itself. */
int64_t grid_bytes(int format);
void make_grid(int format, void* grid);
