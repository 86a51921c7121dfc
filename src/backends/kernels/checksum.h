// A fast checksum of what was read from a file, to tell a wrong byte from a right one; src/model/checksum.ts computes the same.
#pragma once
#include <stddef.h>
#include <stdint.h>

/** @param part, chunk where the bytes belong: the sums of all chunks are added, in any order */
uint64_t checksum_of_chunk(const void* bytes, size_t count, uint32_t part, uint32_t chunk);
