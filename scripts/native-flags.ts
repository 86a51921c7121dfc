// The compiler's flags for each variant of the native kernels.

/** What each variant may use; native/processor.h asks the processor for the same. */
export const instructionFlags: Record<string, readonly string[]> = {
  avx512vnni: [
    ...['avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512vnni', 'avx512vbmi'],
    ...['avx2', 'fma', 'f16c', 'bmi', 'bmi2'],
  ].map(set => `-m${set}`),
  avxvnni: ['-mavxvnni', '-mavx2', '-mfma', '-mf16c', '-mbmi', '-mbmi2'],
  avx2: ['-mavx2', '-mfma', '-mf16c', '-mbmi', '-mbmi2'],
  i8mm: ['-march=armv8.2-a+dotprod+i8mm'],
  dotprod: ['-march=armv8.2-a+dotprod'],
  plain: [],
};
