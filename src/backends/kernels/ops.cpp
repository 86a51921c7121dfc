// Everything that is neither a matrix product nor attention.
#include "ops.h"

#include "vector.h"

namespace {

/// Rows a thread claims at once, so that a claim covers about 4096 elements.
int rows_at_once(int n) { return n >= 4096 ? 1 : 4096 / (n > 0 ? n : 1); }

constexpr int elements_at_once = 4096;

template <class Body>
void for_rows(int rows, int n, Team team, Body body) {
  const int count = rows_at_once(n);
  for (int from; (from = claim(team, count)) < rows;)
    for (int row = from; row < from + count && row < rows; row++) body(row);
}

/// Calls four(i) for groups of four elements and one(i) for those left over. Both must do the same arithmetic.
template <class Four, class One>
void for_elements(int64_t count, Team team, Four four, One one) {
  const int blocks = (int)((count + elements_at_once - 1) / elements_at_once);
  for (int block; (block = claim(team, 1)) < blocks;) {
    int64_t i = (int64_t)block * elements_at_once;
    const int64_t end = i + elements_at_once < count ? i + elements_at_once : count;
    for (; i + 4 <= end; i += 4) four(i);
    for (; i < end; i++) one(i);
  }
}

float rank(float x) { return x == x ? x : -__builtin_inff(); }

f32x4 load1(const float* p) { return f32x4{p[0], 0, 0, 0}; }

}  // namespace

void rms_norm(const float* x, const float* weight, int rows, int n, float eps, float* y, Team team) {
  for_rows(rows, n, team, [=](int row) {
    const float* in = x + (int64_t)row * n;
    float* out = y + (int64_t)row * n;
    f64x2 low = {0, 0}, high = {0, 0};
    int i = 0;
    for (; i + 4 <= n; i += 4) {
      const f32x4 v = load<f32x4>(in + i);
      const f64x2 a = {v[0], v[1]}, b = {v[2], v[3]};
      low += a * a;
      high += b * b;
    }
    double sum = (low[0] + low[1]) + (high[0] + high[1]);
    for (; i < n; i++) sum += (double)in[i] * in[i];
    const float scale = (float)(1.0 / __builtin_sqrt(sum / n + (double)eps));
    const f32x4 scales = splat(scale);
    i = 0;
    if (weight) {
      for (; i + 4 <= n; i += 4) store(out + i, load<f32x4>(in + i) * scales * load<f32x4>(weight + i));
      for (; i < n; i++) out[i] = in[i] * scale * weight[i];
    } else {
      for (; i + 4 <= n; i += 4) store(out + i, load<f32x4>(in + i) * scales);
      for (; i < n; i++) out[i] = in[i] * scale;
    }
  });
}

void rope(const float* x, const float* table, int tokens, int heads, int head_dim, float* y, Team team) {
  for_rows(tokens, heads * head_dim, team, [=](int token) {
    const float* angles = table + (int64_t)token * head_dim;
    for (int head = 0; head < heads; head++) {
      const float* in = x + ((int64_t)token * heads + head) * head_dim;
      float* out = y + ((int64_t)token * heads + head) * head_dim;
      for (int i = 0; i + 2 <= head_dim; i += 2) {
        const float a = in[i], b = in[i + 1], c = angles[i], s = angles[i + 1];
        out[i] = a * c - b * s;
        out[i + 1] = a * s + b * c;
      }
    }
  });
}

void top_k(const float* x, int rows, int n, int k, int* ids, float* values, Team team) {
  for_rows(rows, n, team, [=](int row) {
    const float* in = x + (int64_t)row * n;
    int* id = ids + (int64_t)row * k;
    float* value = values + (int64_t)row * k;
    int kept = 0;
    for (int i = 0; i < n; i++) {
      const float v = in[i];
      // Insertion from the back; a later index must be strictly larger to pass an earlier one.
      int at = kept;
      while (at > 0 && rank(v) > rank(value[at - 1])) at--;
      if (at == k) continue;
      for (int j = kept < k ? kept : k - 1; j > at; j--) value[j] = value[j - 1], id[j] = id[j - 1];
      value[at] = v;
      id[at] = i;
      if (kept < k) kept++;
    }
  });
}

void swiglu(const float* gate, const float* up, int64_t count, float* y, Team team) {
  for_elements(
      count, team,
      [=](int64_t i) {
        const f32x4 g = load<f32x4>(gate + i);
        store(y + i, g * logistic(g) * load<f32x4>(up + i));
      },
      [=](int64_t i) {
        const f32x4 g = load1(gate + i);
        y[i] = (g * logistic(g) * load1(up + i))[0];
      });
}

void sigmoid(const float* x, int64_t count, float* y, Team team) {
  for_elements(
      count, team, [=](int64_t i) { store(y + i, logistic(load<f32x4>(x + i))); },
      [=](int64_t i) { y[i] = logistic(load1(x + i))[0]; });
}

void add(const float* a, const float* b, float scale, int64_t count, float* y, Team team) {
  const f32x4 scales = splat(scale);
  for_elements(
      count, team, [=](int64_t i) { store(y + i, load<f32x4>(a + i) + scales * load<f32x4>(b + i)); },
      [=](int64_t i) { y[i] = a[i] + scale * b[i]; });
}

void scale_rows(const float* x, const float* factors, int rows, int n, float* y, Team team) {
  for_rows(rows, n, team, [=](int row) {
    const float* in = x + (int64_t)row * n;
    float* out = y + (int64_t)row * n;
    const f32x4 factor = splat(factors[row]);
    int i = 0;
    for (; i + 4 <= n; i += 4) store(out + i, load<f32x4>(in + i) * factor);
    for (; i < n; i++) out[i] = in[i] * factors[row];
  });
}

void gather_rows(const float* x, const int* indices, int rows, int n, float* y, Team team) {
  for_rows(rows, n, team, [=](int row) {
    __builtin_memcpy(y + (int64_t)row * n, x + (int64_t)indices[row] * n, (unsigned long)n * sizeof(float));
  });
}
