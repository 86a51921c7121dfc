// Quantizes rows: widens them, refuses what no format holds, encodes, and looks at the scales that came out.
#include "encode.h"
#include "encoders.h"

namespace {

/** Where a format's halves lie whose infinity would make all of a block so; and how long its blocks are. */
struct Layout {
  int format, values, bytes, scale, minimum;
};
constexpr Layout layouts[] = {
    {F32, 1, 4, -1, -1},       {F16, 1, 2, 0, -1},       {BF16, 1, 2, -1, -1},     {Q4_0, 32, 18, 0, -1},    {Q4_1, 32, 20, 0, 2},
    {Q5_0, 32, 22, 0, -1},     {Q5_1, 32, 24, 0, 2},     {Q8_0, 32, 34, 0, -1},    {Q2_K, 256, 84, 80, 82},  {Q3_K, 256, 110, 108, -1},
    {Q4_K, 256, 144, 0, 2},    {Q5_K, 256, 176, 0, 2},   {Q6_K, 256, 210, 208, -1}, {IQ2_XXS, 256, 66, 0, -1}, {IQ2_XS, 256, 74, 0, -1},
    {IQ3_XXS, 256, 98, 0, -1}, {IQ1_S, 256, 50, 0, -1},  {IQ4_NL, 32, 18, 0, -1},  {IQ3_S, 256, 110, 0, -1}, {IQ2_S, 256, 82, 0, -1},
    {IQ4_XS, 256, 136, 0, -1}, {IQ1_M, 256, 56, -2, -1}, {TQ1_0, 256, 54, 52, -1}, {TQ2_0, 256, 66, 64, -1}, {MXFP4, 32, 17, -1, -1},
    {NVFP4, 64, 36, -1, -1},   {Q1_0, 128, 18, 0, -1},   {Q2_0, 64, 18, 0, -1},
};
const Layout* layout_of(int format) {
  for (const Layout& layout : layouts)
    if (layout.format == format) return &layout;
  return nullptr;
}

Encode encoder_of(int format) {
  Encode (*const all[])(int) = {encoder_of_32, encoder_of_256, encoder_of_small, encoder_of_iq4, encoder_of_grid, encoder_of_iq1};
  for (const auto of : all)
    if (const Encode encode = of(format)) return encode;
  return nullptr;
}

/** The numbers as floats; whether all are finite. */
bool widen(int format, const void* from, int64_t count, float* to) {
  i32v wrong = {};
  int64_t i = 0;
  const auto take = [&](f32v x) __attribute__((always_inline)) {
    wrong |= ((i32v)x & 0x7f800000) == 0x7f800000;
    return x;
  };
  for (; i + LANES <= count; i += LANES) {
    const uint8_t* const at = (const uint8_t*)from + i * (format == F32 ? 4 : 2);
    store(to + i, take(format == F32 ? load<f32v>(at) : format == F16 ? load_halves(at) : (f32v)load_upper(at)));
  }
  bool finite = true;
  for (; i < count; i++) {
    if (format == F32) to[i] = load<float>((const float*)from + i);
    else {
      const uint16_t bits = load<uint16_t>((const uint16_t*)from + i);
      const uint32_t upper = (uint32_t)bits << 16;
      to[i] = format == F16 ? of_half(bits) : load<float>(&upper);
    }
    finite &= size_of(to[i]) < __builtin_inff();
  }
  for (int lane = 0; lane < LANES; lane++) finite &= wrong[lane] == 0;
  return finite;
}

bool half_is_finite(uint16_t half) { return (half & 0x7c00) != 0x7c00; }

bool scales_are_finite(const Layout& layout, const uint8_t* out, int64_t blocks) {
  if (layout.scale == -1) return true;
  bool finite = true;
  for (int64_t block = 0; block < blocks; block++) {
    const uint8_t* const at = out + layout.bytes * block;
    if (layout.scale == -2)  // IQ1_M: the upper end of the exponent's five bits are in two nibbles
      finite &= half_is_finite((uint16_t)((at[55] >> 4) << 12 | (at[53] >> 4) << 8));
    else finite &= half_is_finite(load<uint16_t>(at + layout.scale));
    if (layout.minimum >= 0) finite &= half_is_finite(load<uint16_t>(at + layout.minimum));
  }
  return finite;
}

constexpr int64_t refused(int64_t row, Refused why) { return 4 * row + (int)why; }

}  // namespace

int64_t encoded_bytes(int format, int64_t columns) {
  const Layout* const layout = layout_of(format);
  return layout && columns % layout->values == 0 ? columns / layout->values * layout->bytes : 0;
}

int64_t encode_scratch_floats(int64_t columns) { return 3 * columns + 2048; }

int64_t encode_rows(int from_format, int format, const void* from, int64_t rows, int64_t columns, const float* importance, uint8_t* out,
                    float* scratch, const void* grid) {
  const Encode encode = encoder_of(format);
  const Layout* const layout = layout_of(format);
  const int64_t row_bytes = encoded_bytes(format, columns), from_bytes = columns * (from_format == F32 ? 4 : 2);
  if (!encode || row_bytes == 0) return refused(0, Refused::no_encoder);
  float* const x = scratch;
  for (int64_t row = 0; row < rows; row++) {
    if (!widen(from_format, (const uint8_t*)from + from_bytes * row, columns, x)) return refused(row, Refused::not_finite);
    encode({.x = x,
            .columns = columns,
            .importance = importance,
            .out = out + row_bytes * row,
            .scratch = scratch + (columns + 15) / 16 * 16,
            .grid = grid});
    if (!scales_are_finite(*layout, out + row_bytes * row, columns / layout->values)) return refused(row, Refused::too_large);
  }
  return 0;
}
