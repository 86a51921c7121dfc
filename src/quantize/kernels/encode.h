// Quantizes rows: what the wasm module exports and the addon calls.
#pragma once
#include <stdint.h>

/** Why a row cannot be encoded. */
enum class Refused : int { not_finite = 1, too_large = 2, no_encoder = 3 };

/** Bytes of `columns` values in a format of blocks; 0 for a format that is not known or whose blocks they do not fill. */
int64_t encoded_bytes(int format, int64_t columns);
/** Floats of room that `encode_rows` needs. */
int64_t encode_scratch_floats(int64_t columns);

/**
 * Encodes `rows` rows of `columns` numbers that lie at `from` as F32, F16 or BF16 into `out` in `format`.
 * @return 0, or 4 · row + Refused for the first row that cannot be
 */
int64_t encode_rows(int from_format, int format, const void* from, int64_t rows, int64_t columns, const float* importance, uint8_t* out,
                    float* scratch, const void* grid);
