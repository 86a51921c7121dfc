// What JavaScript calls in the WebAssembly module: addresses are 64-bit integers, all else numbers.
#include "encode.h"
#include "encoders.h"

#if defined(__wasm__)
#define EXPORT(name) extern "C" __attribute__((export_name(#name)))

EXPORT(scratchFloats) double scratch_floats(double columns) { return (double)encode_scratch_floats((int64_t)columns); }
EXPORT(gridBytes) double grid_bytes_of(int format) { return (double)grid_bytes(format); }
EXPORT(makeGrid) void make_grid_of(int format, void* grid) { make_grid(format, grid); }
EXPORT(encode)
double encode_of(int from_format, int format, const void* from, double rows, double columns, const float* importance, uint8_t* out,
                 float* scratch, const void* grid) {
  return (double)encode_rows(from_format, format, from, (int64_t)rows, (int64_t)columns, importance, out, scratch, grid);
}
#endif
