// Runs command buffers: every thread walks the same list and they meet where one command needs another's result.
#include "program.h"

#include "attention.h"
#include "matmul.h"
#include "ops.h"

namespace {

/// Looks before a thread goes to sleep: tens of microseconds, longer than most commands of a decode step differ between threads.
constexpr int looks = 20000;

/// A thread that waits this long for the others gives up; the longest single command is a matter of seconds.
constexpr int patience_seconds = 300;

int load(const int32_t& x) { return __atomic_load_n(&x, __ATOMIC_SEQ_CST); }
void store(int32_t& x, int value) { __atomic_store_n(&x, value, __ATOMIC_SEQ_CST); }
int fetch_add(int32_t& x, int value) { return __atomic_fetch_add(&x, value, __ATOMIC_SEQ_CST); }

/// Sleeps while x is `expected`, at most `nanoseconds`; −1 is for ever.
void sleep_while(int32_t& x, int expected, int64_t nanoseconds) { __builtin_wasm_memory_atomic_wait32(&x, expected, nanoseconds); }
void wake(int32_t& x) { __builtin_wasm_memory_atomic_notify(&x, 0xffffffffu); }

/// Waits for all threads. False: one of them is lost.
bool meet(Control& control, int threads) {
  if (threads == 1) return true;
  const int generation = load(control.generation);
  if (fetch_add(control.arrived, 1) == threads - 1) {
    store(control.arrived, 0);
    store(control.generation, generation + 1);
    if (load(control.sleepers) > 0) wake(control.generation);
    return load(control.failed) == 0;
  }
  for (int look = 0; look < looks; look++)
    if (load(control.generation) != generation) return load(control.failed) == 0;
  fetch_add(control.sleepers, 1);
  for (int seconds = 0; load(control.generation) == generation && load(control.failed) == 0; seconds++) {
    if (seconds == patience_seconds) store(control.failed, 1);
    sleep_while(control.generation, generation, 1000000000);
  }
  fetch_add(control.sleepers, -1);
  return load(control.failed) == 0;
}

/// Reads a command's arguments in order, as what the parameter wants.
struct Arguments {
  const double* next;
  int integer() { return (int)*next++; }
  int64_t large() { return (int64_t)*next++; }
  float real() { return (float)*next++; }
  template <class T>
  T* at() {
    return (T*)(uintptr_t)*next++;
  }
};

void embed(int format, const uint8_t* table, int64_t row_bytes, int n, const int* tokens, int count, float* y, Team team) {
  for (int i; (i = claim(team, 1)) < count;) dequantize_row(format, table + tokens[i] * row_bytes, n, y + (int64_t)i * n);
}

void count_product(Control& control, double matrices, int64_t rows, int format, int out, int in) {
  control.weight_bytes += matrices * out * (double)row_bytes(format, in);
  control.multiply_adds += (double)rows * out * in;
}

/// An expert's weights are read once a batch, and only if a row wants them.
void count_experts(Control& control, int experts, const int* slots, int rows, int format, int out, int in) {
  constexpr int most = 1024;
  uint8_t seen[most] = {};
  int distinct = 0, used = 0;
  for (int t = 0; t < rows; t++) {
    const int slot = slots[t];
    if (slot < 0 || slot >= experts) continue;
    used++;
    if (slot >= most || !seen[slot]) distinct++;
    if (slot < most) seen[slot] = 1;
  }
  count_product(control, distinct, used, format, out, in);
}

void execute(Control& control, Command& command, int thread, int threads) {
  Arguments a = {command.arguments};
  const Team team = {thread, threads, &command.ticket};
  switch (command.kind) {
    case Kind::Embed: {
      const int format = a.integer();
      const uint8_t* table = a.at<uint8_t>();
      const int64_t row_bytes = a.large();
      const int n = a.integer();
      const int* tokens = a.at<int>();
      const int count = a.integer();
      return embed(format, table, row_bytes, n, tokens, count, a.at<float>(), team);
    }
    case Kind::Quantize: {
      const float* x = a.at<float>();
      const int rows = a.integer(), n = a.integer();
      return quantize_rows(x, rows, n, a.at<void>(), team);
    }
    case Kind::Matmul: {
      const int format = a.integer();
      const void* w = a.at<void>();
      const int out = a.integer(), in = a.integer();
      const void* x = a.at<void>();
      const int rows = a.integer();
      if (thread == 0) count_product(control, 1, rows, format, out, in);
      return matmul(format, w, out, in, x, rows, a.at<float>(), team);
    }
    case Kind::ExpertMatmul: {
      const int format = a.integer();
      const void* w = a.at<void>();
      const int experts = a.integer(), out = a.integer(), in = a.integer();
      const void* x = a.at<void>();
      const int rows = a.integer();
      const int* slots = a.at<int>();
      float* y = a.at<float>();
      if (thread == 0) count_experts(control, experts, slots, rows, format, out, in);
      return expert_matmul(format, w, experts, out, in, x, rows, slots, y, a.at<void>(), team);
    }
    case Kind::RmsNorm: {
      const float* x = a.at<float>();
      const float* weight = a.at<float>();
      const int rows = a.integer(), n = a.integer();
      const float eps = a.real();
      return rms_norm(x, weight, rows, n, eps, a.at<float>(), team);
    }
    case Kind::Rope: {
      const float* x = a.at<float>();
      const float* table = a.at<float>();
      const int tokens = a.integer(), heads = a.integer(), head_dim = a.integer();
      return rope(x, table, tokens, heads, head_dim, a.at<float>(), team);
    }
    case Kind::TopK: {
      const float* x = a.at<float>();
      const int rows = a.integer(), n = a.integer(), k = a.integer();
      int* ids = a.at<int>();
      return top_k(x, rows, n, k, ids, a.at<float>(), team);
    }
    case Kind::Swiglu: {
      const float* gate = a.at<float>();
      const float* up = a.at<float>();
      const int64_t count = a.large();
      return swiglu(gate, up, count, a.at<float>(), team);
    }
    case Kind::Sigmoid: {
      const float* x = a.at<float>();
      const int64_t count = a.large();
      return sigmoid(x, count, a.at<float>(), team);
    }
    case Kind::Add: {
      const float* x = a.at<float>();
      const float* b = a.at<float>();
      const float scale = a.real();
      const int64_t count = a.large();
      return add(x, b, scale, count, a.at<float>(), team);
    }
    case Kind::ScaleRows: {
      const float* x = a.at<float>();
      const float* factors = a.at<float>();
      const int rows = a.integer(), n = a.integer();
      return scale_rows(x, factors, rows, n, a.at<float>(), team);
    }
    case Kind::GatherRows: {
      const float* x = a.at<float>();
      const int* indices = a.at<int>();
      const int rows = a.integer(), n = a.integer();
      return gather_rows(x, indices, rows, n, a.at<float>(), team);
    }
    case Kind::Append: {
      const float* keys = a.at<float>();
      const float* values = a.at<float>();
      const int tokens = a.integer();
      const AttentionShape shape = {0, a.integer(), a.integer()};
      const double* pages = a.at<double>();
      return append(keys, values, tokens, shape, pages, a.at<int>(), team);
    }
    case Kind::Attention: {
      const float* q = a.at<float>();
      float* y = a.at<float>();
      const AttentionShape shape = {a.integer(), a.integer(), a.integer()};
      const float scale = a.real();
      const Tile* tiles = a.at<Tile>();
      const Piece* pieces = a.at<Piece>();
      const int count = a.integer();
      const int* rows = a.at<int>();
      const double* pages = a.at<double>();
      return attention(q, y, shape, scale, tiles, pieces, count, rows, pages, a.at<float>(), team);
    }
    case Kind::AttentionMerge: {
      float* y = a.at<float>();
      const AttentionShape shape = {a.integer(), a.integer(), a.integer()};
      const Merge* merges = a.at<Merge>();
      const int count = a.integer();
      return attention_merge(y, shape, merges, count, a.at<float>(), team);
    }
  }
  __builtin_trap();
}

}  // namespace

#define EXPORT(name) extern "C" __attribute__((export_name(name)))

/// Runs `count` commands as one of `threads` threads; returns when all are done. 0: done; 1: a thread was lost.
EXPORT("run") int run(Control* control, Command* program, int count, int thread, int threads) {
  for (int i = 0; i < count; i++) {
    Command& command = program[i];
    if ((command.flags & flag_barrier) && !meet(*control, threads)) return 1;
    if (!(command.flags & flag_single)) execute(*control, command, thread, threads);
    else if (thread == 0) execute(*control, command, 0, 1);
  }
  return meet(*control, threads) ? 0 : 1;
}

/// Waits until another task than the one numbered `seen` has begun, and returns its number.
EXPORT("wait_for_task") int wait_for_task(Control* control, int seen) {
  for (int look = 0; look < looks; look++)
    if (load(control->sequence) != seen) return load(control->sequence);
  fetch_add(control->idle, 1);
  while (load(control->sequence) == seen) sleep_while(control->sequence, seen, -1);
  fetch_add(control->idle, -1);
  return load(control->sequence);
}

/// Begins the next task: the host has written which one.
EXPORT("begin_task") void begin_task(Control* control) {
  fetch_add(control->sequence, 1);
  if (load(control->idle) > 0) wake(control->sequence);
}

EXPORT("row_bytes") double stored_row_bytes(int format, int n) { return (double)row_bytes(format, n); }
EXPORT("uses_q8") int format_uses_q8(int format) { return uses_q8(format); }
EXPORT("q8_row_bytes") double quantized_row_bytes(int n) { return (double)q8_row_bytes(n); }
EXPORT("expert_scratch_bytes") double scratch_bytes(int experts, int rows, int threads) {
  return (double)expert_scratch_bytes(experts, rows, threads);
}
EXPORT("measure_dot") void measure(int form, int iterations) { measure_dot(form, iterations); }
EXPORT("choose_dot") void choose(int form) { choose_dot(form); }
