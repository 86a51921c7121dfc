// Everything that is neither a matrix product nor attention.
#include "ops.h"

#include "vector.h"

namespace {

constexpr int elements_at_once = 4096;

/// Rows a thread claims at once, so that a claim covers about as many elements.
int rows_at_once(int n) { return n >= elements_at_once ? 1 : elements_at_once / (n > 0 ? n : 1); }

template <class Body>
void for_rows(int rows, int n, Team team, Body body) {
  const int count = rows_at_once(n);
  for (int from; (from = claim(team, count)) < rows;)
    for (int row = from; row < from + count && row < rows; row++) body(row);
}

/// y[i] = body(of the vectors at i of each input), tails included: every element goes through the same arithmetic.
template <class Body, class... Inputs>
INLINE void map(int n, Body body, float* y, const Inputs*... inputs) {
  int i = 0;
  for (; i + LANES <= n; i += LANES) store(y + i, body(load<f32v>(inputs + i)...));
  if (i < n) store_some(y + i, body(load_some(inputs + i, n - i)...), n - i);
}

/// The same for any number of elements, shared out.
template <class Body, class... Inputs>
INLINE void map(int64_t count, Team team, Body body, float* y, const Inputs*... inputs) {
  const int blocks = (int)((count + elements_at_once - 1) / elements_at_once);
  for (int block; (block = claim(team, 1)) < blocks;) {
    const int64_t from = (int64_t)block * elements_at_once;
    map((int)(count - from < elements_at_once ? count - from : elements_at_once), body, y + from, (inputs + from)...);
  }
}

/// The sum of the squares in double precision: four chains for each lane of f64v, since one would wait for its additions.
double sum_of_squares(const float* x, int n) {
  constexpr int half = LANES / 2;
  f64v sums[4] = {};
  int i = 0;
  for (; i + 4 * half <= n; i += 4 * half)
    for (int j = 0; j < 4; j++) {
      const f64v v = __builtin_convertvector(load<f32h>(x + i + j * half), f64v);
      sums[j] += v * v;
    }
  const f64v lanes_of = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int j = 0; j < half; j++) sum += lanes_of[j];
  for (; i < n; i++) sum += (double)x[i] * x[i];
  return sum;
}

/// The vector at i of n numbers; behind the last one there is what neither a maximum nor a sum of exponentials notices.
INLINE f32v load_or_nothing(const float* x, int i, int n) {
  if (i + LANES <= n) return load<f32v>(x + i);
  float some[LANES];
  for (int j = 0; j < LANES; j++) some[j] = i + j < n ? x[i + j] : -__builtin_inff();
  return load<f32v>(some);
}

float largest_of(const float* x, int n) {
  f32v largest = splat(-__builtin_inff());
  for (int i = 0; i < n; i += LANES) largest = raise_to(largest, load_or_nothing(x, i, n));
  return largest_lane(largest);
}

float rank(float x) { return x == x ? x : -__builtin_inff(); }

/// Whether a lane is larger than `limit`.
bool any_above(f32v a, float limit) {
  const auto above = (VectorOf<int64_t, LANES / 2>)(a > splat(limit));
  int64_t found = 0;
  for (int i = 0; i < LANES / 2; i++) found |= above[i];
  return found != 0;
}

}  // namespace

void rms_norm(const float* x, const float* weight, int rows, int n, float eps, float* y, Team team) {
  for_rows(rows, n, team, [=](int row) {
    const float* in = x + (int64_t)row * n;
    float* out = y + (int64_t)row * n;
    const f32v scale = splat((float)(1.0 / __builtin_sqrt(sum_of_squares(in, n) / n + (double)eps)));
    if (weight) map(n, [=](f32v v, f32v w) { return v * scale * w; }, out, in, weight);
    else map(n, [=](f32v v) { return v * scale; }, out, in);
  });
}

void rope(const float* x, const float* table, int tokens, int heads, int head_dim, float* y, Team team) {
  // A pair is one lane of 64 bits: turning it swaps its numbers, and shifts repeat its cosine or its sine.
  typedef uint64_t Pairs __attribute__((vector_size(4 * LANES)));
  const auto turned = [](f32v pair, f32v angle) {
    const Pairs p = (Pairs)pair, a = (Pairs)angle;
    const f32v swapped = (f32v)((p << 32) | (p >> 32));
    const f32v cosine = (f32v)((a & 0xffffffffu) | (a << 32));
    const f32v sine = (f32v)(((a >> 32) | (a & 0xffffffff00000000u)) ^ 0x80000000u); // minus the first
    return pair * cosine + swapped * sine;
  };
  for_rows(tokens, heads * head_dim, team, [=](int token) {
    for (int head = 0; head < heads; head++) {
      const int64_t at = ((int64_t)token * heads + head) * head_dim;
      map(head_dim, turned, y + at, x + at, table + (int64_t)token * head_dim);
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
      // What is not above the least that is kept cannot pass it.
      while (kept == k && i + LANES <= n && !any_above(load<f32v>(in + i), rank(value[k - 1]))) i += LANES;
      if (i == n) break;
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

void softmax_sums(const float* x, int rows, int n, float* y, Team team) {
  for_rows(rows, n, team, [=](int row) {
    const float* in = x + (int64_t)row * n;
    const float max = largest_of(in, n);
    // Lanes add up few numbers each, and doubles the rest: float32 loses a vocabulary of 202,048.
    constexpr int at_once = 64 * LANES;
    double sum = 0;
    for (int from = 0; from < n; from += at_once) {
      const int to = from + at_once < n ? from + at_once : n;
      f32v part = splat(0.0f);
      for (int i = from; i < to; i += LANES) part = part + exp(load_or_nothing(in, i, n) - splat(max));
      sum += (double)add_lanes(part);
    }
    y[2 * (int64_t)row] = max;
    y[2 * (int64_t)row + 1] = (float)sum;
  });
}

void softmax_masses(const float* x, const float* temperatures, int rows, int n, float* y, Team team) {
  const int masses = (n + mass_numbers - 1) / mass_numbers;
  for_rows(rows, n, team, [=](int row) {
    const float* in = x + (int64_t)row * n;
    const f32v max = splat(largest_of(in, n)), inverse = splat(1.0f / temperatures[row]);
    for (int i = 0; i < masses; i++) {
      const int from = i * mass_numbers, to = from + mass_numbers < n ? from + mass_numbers : n;
      f32v sum = splat(0.0f);
      for (int j = from; j < to; j += LANES) sum = sum + exp((load_or_nothing(in, j, n) - max) * inverse);
      y[(int64_t)row * masses + i] = add_lanes(sum);
    }
  });
}

void swiglu(const float* gate, const float* up, int64_t count, float* y, Team team) {
  map(count, team, [](f32v g, f32v u) { return g * logistic(g) * u; }, y, gate, up);
}

void sigmoid(const float* x, int64_t count, float* y, Team team) {
  map(count, team, [](f32v v) { return logistic(v); }, y, x);
}

void add(const float* a, const float* b, float scale, int64_t count, float* y, Team team) {
  const f32v scales = splat(scale);
  map(count, team, [=](f32v v, f32v w) { return v + scales * w; }, y, a, b);
}

void scale_rows(const float* x, const float* factors, int rows, int n, float* y, Team team) {
  for_rows(rows, n, team, [=](int row) {
    const f32v factor = splat(factors[row]);
    map(n, [=](f32v v) { return v * factor; }, y + (int64_t)row * n, x + (int64_t)row * n);
  });
}

void gather_rows(const float* x, const int* indices, int rows, int n, float* y, Team team) {
  for_rows(rows, n, team, [=](int row) {
    __builtin_memcpy(y + (int64_t)row * n, x + (int64_t)indices[row] * n, (unsigned long)n * sizeof(float));
  });
}
