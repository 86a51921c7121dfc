// Everything that is neither a matrix product nor attention. Activations are rows of floats; shapes are the caller's promise.
#pragma once
#include "team.h"

/// y[rows, n] = x / √(mean x² + eps) · weight; a null weight means 1. The mean is taken in double precision.
void rms_norm(const float* x, const float* weight, int rows, int n, float eps, float* y, Team team);

/// Rotates adjacent pairs of x[tokens, heads, head_dim] by angles given as (cos, sin) in table[tokens, head_dim / 2, 2].
void rope(const float* x, const float* table, int tokens, int heads, int head_dim, float* y, Team team);

/// The k largest of each row of x[rows, n], the first index first on ties; NaN counts as least. 1 ≤ k ≤ n.
void top_k(const float* x, int rows, int n, int k, int* ids, float* values, Team team);

/// y[rows, 2]: of each row of x[rows, n] the largest number and Σ exp(x − largest); NaN among them makes the sum NaN.
void softmax_sums(const float* x, int rows, int n, float* y, Team team);

/// Numbers of a row whose mass is told as one.
constexpr int mass_numbers = 512;

/// y[rows, ⌈n / 512⌉]: Σ exp((x − largest of the row) / temperatures[row]) of every 512 numbers of a row.
void softmax_masses(const float* x, const float* temperatures, int rows, int n, float* y, Team team);

/// y = silu(gate) ⊙ up, `count` elements.
void swiglu(const float* gate, const float* up, int64_t count, float* y, Team team);

void sigmoid(const float* x, int64_t count, float* y, Team team);

/// y = a + scale · b.
void add(const float* a, const float* b, float scale, int64_t count, float* y, Team team);

/// y[t] = x[t] · factors[t] for rows of n elements.
void scale_rows(const float* x, const float* factors, int rows, int n, float* y, Team team);

/// y[i] = x[indices[i]] for rows of n elements.
void gather_rows(const float* x, const int* indices, int rows, int n, float* y, Team team);
