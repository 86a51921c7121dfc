// Whether this processor, and the system on it, run what this file's kernels were compiled to.
#pragma once
#include <stdint.h>

// The build defines one of VARIANT_avx512vnni, VARIANT_avxvnni, VARIANT_avx2, VARIANT_i8mm, VARIANT_dotprod, VARIANT_plain.

#if defined(__x86_64__)
#include <cpuid.h>

struct Registers {
  uint32_t a, b, c, d;
};
static inline Registers identify(uint32_t leaf, uint32_t part) {
  Registers r = {};
  __get_cpuid_count(leaf, part, &r.a, &r.b, &r.c, &r.d);
  return r;
}
/// Bits of the registers that the system saves: 1 SSE, 2 AVX, 5 … 7 AVX-512.
static inline uint32_t saved_registers() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/// Bit numbers: Intel's Software Developer's Manual, volume 2, CPUID.
static inline bool processor_supports_variant() {
#if defined(VARIANT_plain)
  return true;
#else
  const auto all = [](uint32_t word, auto... bits) { return (((word >> bits) & 1) & ...); };
  const Registers one = identify(1, 0), seven = identify(7, 0), more = identify(7, 1);
  const bool avx2 = all(one.c, 12 /* FMA */, 27 /* OSXSAVE */, 28 /* AVX */, 29 /* F16C */) &&
                    all(seven.b, 3 /* BMI1 */, 5 /* AVX2 */, 8 /* BMI2 */) && all(saved_registers(), 1, 2);
#if defined(VARIANT_avx2)
  return avx2;
#elif defined(VARIANT_avxvnni)
  return avx2 && all(more.a, 4 /* AVX-VNNI */);
#elif defined(VARIANT_avx512vnni)
  return avx2 && all(seven.b, 16 /* F */, 17 /* DQ */, 30 /* BW */, 31 /* VL */) && all(seven.c, 1 /* VBMI */, 11 /* VNNI */) &&
         all(saved_registers(), 5, 6, 7);
#endif
#endif
}

/// Whether weights come sooner when they are asked for ahead. Measured (LOG.md, 2026-12-01): on Zen 5 by a third; on Zen 4 asking halves the speed.
static inline bool processor_wants_prefetch() {
  const Registers maker = identify(0, 0), one = identify(1, 0);
  const uint32_t family = (one.a >> 8 & 15) + (one.a >> 20 & 255);
  return maker.b == signature_AMD_ebx && family >= 0x1a;
}

#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

static inline bool processor_has(const char* apple, unsigned long word, unsigned long bit, int windows) {
  (void)apple, (void)word, (void)bit, (void)windows;
#if defined(__linux__)
  return getauxval(word) & bit;
#elif defined(__APPLE__)
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(apple, &value, &size, nullptr, 0) == 0 && value != 0;
#elif defined(_WIN32)
  return windows != 0 && IsProcessorFeaturePresent(windows);
#endif
}

/// Bits: Linux, Documentation/arch/arm64/elf_hwcaps.rst. Windows tells of no I8MM before its newest headers.
static inline bool processor_supports_variant() {
  [[maybe_unused]] const bool dotprod = processor_has("hw.optional.arm.FEAT_DotProd", 16, 1ul << 20, 43);
  [[maybe_unused]] const bool i8mm = processor_has("hw.optional.arm.FEAT_I8MM", 26, 1ul << 13, 0);
#if defined(VARIANT_i8mm)
  return dotprod && i8mm;
#elif defined(VARIANT_dotprod)
  return dotprod;
#else
  return true;
#endif
}

/// Not measured on any.
static inline bool processor_wants_prefetch() { return true; }
#endif
