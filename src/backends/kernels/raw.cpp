// What tests and benchmarks call directly, without a program.
#include "matmul.h"

#if defined(__wasm__)
#define EXPORT(name) extern "C" __attribute__((export_name(#name)))

EXPORT(pack) void raw_pack(int format, const void* rows, int out, int in, void* w, const Team* team) {
  pack(format, rows, out, in, w, *team);
}
EXPORT(quantize_rows) void raw_quantize_rows(int bits, const float* x, int rows, int n, void* rounded, const Team* team) {
  quantize_rows(bits, x, rows, n, rounded, *team);
}
EXPORT(matmul) void raw_matmul(int format, const void* w, int out, int in, const void* x, int bits, int rows, float* y,
                                const Team* team) {
  matmul(format, w, out, in, x, bits, rows, y, *team);
}
EXPORT(expert_matmul)
void raw_expert_matmul(int format, const void* w, int experts, int out, int in, const void* x, int bits, int rows, const int* slots,
                       float* y, void* scratch, const Team* team) {
  expert_matmul(format, w, experts, out, in, x, bits, rows, slots, y, scratch, *team);
}
EXPORT(dequantize_row) void raw_dequantize_row(int format, const void* w, int out, int in, double row, float* y) {
  dequantize_row(format, w, out, in, (int64_t)row, y);
}
#endif
