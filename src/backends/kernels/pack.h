// How quantized matrices get from the file's form into tiles: see formats.h. Not for a team: any thread may pack what it has read.
#pragma once
#include <stddef.h>
#include <stdint.h>

/** Whether a format is packed; others stay as they are in the file. */
bool is_packed(int format);

/** Bytes of `n` stored numbers, a whole number of blocks, as in a file; 0 for a format that is not known. */
size_t row_bytes(int format, int n);

/**
 * Bytes that a matrix [out, in] takes in memory: as in the file, but for packed formats, whose rows are padded to a multiple of
 * sixteen. Several matrices of one tensor lie one behind the other.
 */
size_t matrix_bytes(int format, int out, int in);

/**
 * Packs `count` rows of `in` weights, which lie one behind the other as in the file, into the tiles at `packed`: matrix_bytes(format,
 * count, in) bytes that do not overlap the rows. All rows of a matrix, or from a multiple of sixteen on; what is missing of a last
 * tile becomes zero. Formats that are not packed are copied. Nothing outside of the rows is read, nothing is allocated.
 */
void pack_rows(int format, const void* rows, int count, int in, void* packed);
