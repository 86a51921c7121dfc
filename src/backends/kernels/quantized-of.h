// Makes a table entry of a format struct: included where formats are instantiated.
#pragma once
#include "matmul-tiles.h"
#include "quantized.h"

template <class F>
void dequantize_packed(const uint8_t* tile, int row, int blocks, float* y) {
  const int lane = row % lanes;
  for (int b = 0; b < blocks; b++) {
    const Rows rows = {tile + (size_t)b * tile_rows * F::bytes, row - lane};
    const typename F::Head head = F::head(rows);
    for (int turn = 0; turn < F::parts / F::distinct; turn++)
      unroll<F::distinct>([&]<int s>() __attribute__((always_inline)) {
        Part p;
        F::template part<s>(rows, head, turn, p);
        for (int i = 0; i < 32; i++) {
          const int span = i / 16 * (F::spans - 1);
          const float value = p.scale[span][lane] * (float)(p.q[i / 4][4 * lane + i % 4] - F::offset);
          if constexpr (F::minimums)
            *y++ = value - p.minimum[span][lane];
          else
            *y++ = value;
        }
      });
  }
}

template <class F>
constexpr Quantized quantized_of() {
  constexpr Dot first = dot_forms[0], second = dot_forms[1];
  return {32 * F::parts,
          F::bytes,
          F::fields,
          sizeof F::fields / sizeof(Fields),
          {{one_row<F, 1, first>, one_row<F, 1, second>}, {one_row<F, 2, first>, one_row<F, 2, second>}},
          {{many_rows<F, 1, first>, many_rows<F, 1, second>}, {many_rows<F, 2, first>, many_rows<F, 2, second>}},
          dequantize_packed<F>};
}
