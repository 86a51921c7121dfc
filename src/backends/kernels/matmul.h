// Products of matrices stored in any block format with rows of activations: what the rest of the kernels may call.
//
// Every function marked "team" is called by all threads of a team with the same arguments; each call takes pieces of the work
// until none is left, so a slow core does less. Nothing waits inside: results may be read after the caller's barrier. A result
// row depends on its own inputs alone, bit for bit: not on the team, nor on the number or order of the rows beside it.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "pack.h"
#include "team.h"

/** Team. `pack_rows` of a whole matrix. */
void pack(int format, const void* rows, int out, int in, void* w, Team team);

/**
 * Bits of the activations that a product with rows of `in` weights of this format should take: 32, plain F32, or 16 or 8, as
 * `quantize_rows` makes them. Long rows of quantized weights take 8 bits, which is fast. Rows of fewer than `words_below` weights
 * take 16, near exact at twice the time: small models have little arithmetic, and a rounding to 8 bits in each of
 * their many layers shows in what they say.
 */
int activation_bits(int format, int in, int words_below);

/**
 * Bytes of one row of `n` rounded activations, n a multiple of 32. `rows` rows take rows · rounded_row_bytes(bits, n) bytes, 16-byte
 * aligned. They are one thing: the blocks of all rows are interleaved, so neither a row nor a range of them can be cut out.
 */
size_t rounded_row_bytes(int bits, int n);

/** Team. Rounds x [rows, n] to 8 or 16 bits in blocks of 32, one scale each: one form for all quantized weight formats. */
void quantize_rows(int bits, const float* x, int rows, int n, void* rounded, Team team);

/**
 * Team. y [rows, out] = x · wᵀ, w [out, in] as `pack` leaves it. x is F32 [rows, in] where the format is
 * not packed, else what `quantize_rows(bits, …, rows, in, …)` made. Any out ≥ 1, any rows ≥ 0.
 */
void matmul(int format, const void* w, int out, int in, const void* x, int bits, int rows, float* y, Team team);

/** Bytes of scratch that `expert_matmul` needs, 16-byte aligned. */
size_t expert_scratch_bytes(int experts, int rows, int threads);

/**
 * Team. Row t of y is row t of x times matrix slots[t] of w [experts, out, in]; a slot outside 0 … experts − 1 gives zeros. The
 * rows of one expert are gathered, so that its weights are read once.
 */
void expert_matmul(int format, const void* w, int experts, int out, int in, const void* x, int bits, int rows,
                   const int* slots, float* y, void* scratch, Team team);

/** The `in` numbers of a row of a tensor [matrices, out, in], rows counted through all matrices; equal to the reference decoder's but for rounding. */
void dequantize_row(int format, const void* w, int out, int in, int64_t row, float* y);

/**
 * In WebAssembly the dot product has two lowerings on x86, equal in result: one instruction, or three. Times one run of the kernel
 * that suits each (`form` 0: sums of 16 bits, 1: of 32 bits); the host calls it at start and keeps the faster with `choose_dot`.
 */
void measure_dot(int form, int iterations);
void choose_dot(int form);

/** Whether weights are asked for ahead of their use, where processors can be asked: some read them sooner in order, by themselves. */
void choose_prefetch(bool yes);
