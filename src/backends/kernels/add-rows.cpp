// The inner kernel of products of many rows: unpacked weights times rounded activations, once for each kind of format.
#include "matmul-rounded.h"

template <class Kind, Form form>
void add_rows(const Unpacked& u, int parts, size_t rows, const char* blocks, const size_t* offsets, int count, f32x4* results) {
  for (int s = 0; s < parts; s++) {
    u8x16 a[4], b[4];
    for (int r = 0; r < 4; r++) {
      a[r] = u.a[s][r];
      b[r] = u.b[s][r];
    }
    f32x4 scale[Kind::spans], minimum[Kind::spans];
    for (int i = 0; i < Kind::spans; i++) {
      scale[i] = u.scale[s * Kind::spans + i];
      if constexpr (Kind::minimums) minimum[i] = u.minimum[s * Kind::spans + i];
    }
    const f32x4 offset = offset_of<Kind>();
#pragma clang loop unroll(disable)
    for (int i = 0; i < count; i++)
      results[i] = add_block<Kind, form>(results[i], a, b, scale, minimum, offset, (const BlockOf<form>*)(blocks + offsets[i]));
    blocks += rows * sizeof(BlockOf<form>);
  }
}

#define ADD_ROWS(form, ...) template QuantizedKernels::AddRows add_rows<FormatKind<__VA_ARGS__>, Form::form>;

// Which there must be is what `kernels_of` asks for; the linker names one that is missing.
ADD_ROWS(bytes, 1, 15, 8, false)
ADD_ROWS(bytes, 1, 15, 0, true)
ADD_ROWS(bytes, 1, 31, 16, false)
ADD_ROWS(bytes, 1, 31, 0, true)
ADD_ROWS(bytes, 1, 63, 32, false)
ADD_ROWS(bytes, 1, signed_but_128, 0, false)
ADD_ROWS(bytes, 1, signed_bytes, 0, false)
ADD_ROWS(bytes, 2, 3, 0, true)
ADD_ROWS(bytes, 2, 7, 4, false)
ADD_ROWS(bytes, 2, 63, 32, false)

ADD_ROWS(bytes_wide, 1, 0, 8, false)
ADD_ROWS(bytes_wide, 1, 0, 16, false)
ADD_ROWS(bytes_wide, 1, 0, 32, false)
ADD_ROWS(bytes_wide, 1, 0, 0, true)
ADD_ROWS(bytes_wide, 1, signed_but_128, 0, false)
ADD_ROWS(bytes_wide, 2, 0, 4, false)
ADD_ROWS(bytes_wide, 2, 0, 32, false)
ADD_ROWS(bytes_wide, 2, 0, 0, true)

ADD_ROWS(words, 1, 0, 8, false)
ADD_ROWS(words, 1, 0, 16, false)
ADD_ROWS(words, 1, 0, 32, false)
ADD_ROWS(words, 1, 0, 0, true)
ADD_ROWS(words, 1, 0, 0, false)
ADD_ROWS(words, 2, 0, 4, false)
ADD_ROWS(words, 2, 0, 32, false)
ADD_ROWS(words, 2, 0, 0, true)
