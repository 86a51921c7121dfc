// Sixteen lanes of 32 bits take a word each in turn, in rounds as in XXH32 (Yann Collet, xxHash specification), and are mixed at the end.
#include "checksum.h"

uint64_t checksum_of_chunk(const void* bytes, size_t count, uint32_t part, uint32_t chunk) {
  constexpr uint32_t prime1 = 0x9E3779B1u, prime2 = 0x85EBCA77u, prime3 = 0xC2B2AE3Du, prime4 = 0x27D4EB2Fu;
  constexpr int lanes = 16;
  uint32_t lane[lanes];
  for (int i = 0; i < lanes; i++) lane[i] = (uint32_t)i * prime3 + prime1;
  const unsigned char* at = (const unsigned char*)bytes;
  const auto round = [&](const unsigned char* block) __attribute__((always_inline)) {
    uint32_t words[lanes];
    __builtin_memcpy(words, block, sizeof words);
    for (int i = 0; i < lanes; i++) {
      const uint32_t sum = lane[i] + words[i] * prime2;
      lane[i] = (sum << 13 | sum >> 19) * prime1;
    }
  };
  size_t left = count;
  for (; left >= sizeof lane; left -= sizeof lane, at += sizeof lane) round(at);
  if (left > 0) {
    unsigned char last[sizeof lane] = {};
    __builtin_memcpy(last, at, left);
    round(last);
  }
  uint32_t low = (uint32_t)count * prime4 + part, high = chunk * prime3 + part + 1;
  for (int i = 0; i < lanes; i++) {
    low = (low ^ lane[i]) * prime1;
    low ^= low >> 15;
    high = (high + lane[i]) * prime2;
    high ^= high >> 13;
  }
  return (uint64_t)high << 32 | low;
}
