// Times products of one thread: native kernels alone, without an engine around them.
//   products FORMAT OUT IN ROWS BITS SECONDS → seconds of one product (the best), and a hash of its results.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "matmul.h"
#include "processor.h"

namespace {

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

uint32_t state = 1;
/// The same numbers in every run, so that the results of two builds can be compared.
uint32_t draw() { return state = state * 1664525u + 1013904223u; }

/// In huge pages where the system has them, as the engine keeps its weights.
void* room(size_t bytes) {
  constexpr size_t huge = 1 << 21;
  const size_t taken = (bytes + huge + 16384) / huge * huge;
  void* const memory = aligned_alloc(huge, taken);
#if defined(MADV_HUGEPAGE)
  madvise(memory, taken, MADV_HUGEPAGE);
#endif
  return memory;
}

}  // namespace

int main(int count, char** words) {
  if (count != 7) {
    fprintf(stderr, "products FORMAT OUT IN ROWS BITS SECONDS\n");
    return 2;
  }
  const int format = atoi(words[1]), out = atoi(words[2]), in = atoi(words[3]), rows = atoi(words[4]), bits = atoi(words[5]);
  const double seconds = atof(words[6]);
  const size_t bytes = matrix_bytes(format, out, in);
  uint8_t* const w = (uint8_t*)room(bytes);
  // Upper bytes of halves and floats lie at odd places: between 0x20 and 0x2f they make ordinary numbers.
  for (size_t i = 0; i < bytes; i++) w[i] = i & 1 ? 0x20 + (draw() >> 28) : draw() >> 24;
  float* const x = (float*)room(sizeof(float) * rows * in);
  for (int i = 0; i < rows * in; i++) x[i] = (int32_t)draw() * 0x1p-31f;
  void* const rounded = room(rows * rounded_row_bytes(bits, in));
  float* const y = (float*)room(sizeof(float) * rows * out);
  choose_prefetch(processor_wants_prefetch());
  int ticket = 0;
  quantize_rows(bits, x, rows, in, rounded, {0, 1, &ticket});
  double best = 1e9;
  for (const double start = now(); now() < start + seconds;) {
    ticket = 0;
    const double before = now();
    matmul(format, w, out, in, rounded, bits, rows, y, {0, 1, &ticket});
    const double taken = now() - before;
    if (taken < best) best = taken;
  }
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < sizeof(float) * rows * out; i++) hash = (hash ^ ((const uint8_t*)y)[i]) * 1099511628211u;
  printf("%.9f %016llx\n", best, (unsigned long long)hash);
}
