// Runs command buffers: every thread walks the same list and waits where one command needs another's result.
#include "program.h"

#include "attention.h"
#include "matmul.h"
#include "ops.h"

namespace {

/// A thread that waits this long for the others gives up; what it waits for is one piece of work, a fraction of a second.
constexpr int patience_seconds = 30;

bool done(const int32_t& gate) { return atomic_load(gate) == gate_shut; }

void leave(Control& control, int32_t& gate) {
  atomic_add(gate, -1);
  if (atomic_load(control.sleepers) > 0) wake(gate);
}

/// False: the gate is shut, what lies behind must not be touched.
bool enter(Control& control, int32_t& gate) {
  if (atomic_load(gate) & gate_shut) return false;
  if (!(atomic_add(gate, 1) & gate_shut)) return true;
  leave(control, gate);
  return false;
}

void shut(int32_t& gate) { atomic_or(gate, gate_shut); }

/// Waits until a gate is shut and everybody has left. False: a thread is lost.
bool await(Control& control, int32_t& gate) {
  if (soon(1, [&] { return done(gate); })) return true;
  atomic_add(control.sleepers, 1);
  for (int seconds = 0; !done(gate) && atomic_load(control.failed) == 0;) {
    if (seconds == patience_seconds) atomic_store(control.failed, 1);
    // It may have changed since; what matters is that it was not done, and that who makes it so will wake us.
    const int now = atomic_load(gate);
    if (now != gate_shut && sleep_while(gate, now, 1000000000)) seconds++; // not when it was woken, or a signal came
  }
  atomic_add(control.sleepers, -1);
  return done(gate);
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

void embed(int format, const void* table, int out, int n, const int* rows, int count, float* y, Team team) {
  for (int i; (i = claim(team, 1)) < count;) dequantize_row(format, table, out, n, rows[i], y + (int64_t)i * n);
}

void count_product(Control& control, int64_t matrices, int64_t rows, int format, int out, int in) {
  count(control.weight_bytes, matrices * out * (int64_t)row_bytes(format, in));
  count(control.multiply_adds, rows * out * in);
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

/// One thread's share of a command; `first` is true for one of the threads.
void execute(Control& control, Command& command, int thread, int threads, bool first) {
  Arguments a = {command.arguments};
  const Team team = {thread, threads, &command.ticket};
  switch (command.kind) {
    case Kind::Embed: {
      const int format = a.integer();
      const void* table = a.at<void>();
      const int out = a.integer(), n = a.integer();
      const int* rows = a.at<int>();
      const int count = a.integer();
      return embed(format, table, out, n, rows, count, a.at<float>(), team);
    }
    case Kind::Quantize: {
      const int bits = a.integer();
      const float* x = a.at<float>();
      const int rows = a.integer(), n = a.integer();
      return quantize_rows(bits, x, rows, n, a.at<void>(), team);
    }
    case Kind::Matmul: {
      const int format = a.integer();
      const void* w = a.at<void>();
      const int out = a.integer(), in = a.integer();
      const void* x = a.at<void>();
      const int bits = a.integer(), rows = a.integer();
      if (first) count_product(control, 1, rows, format, out, in);
      return matmul(format, w, out, in, x, bits, rows, a.at<float>(), team);
    }
    case Kind::ExpertMatmul: {
      const int format = a.integer();
      const void* w = a.at<void>();
      const int experts = a.integer(), out = a.integer(), in = a.integer();
      const void* x = a.at<void>();
      const int bits = a.integer(), rows = a.integer();
      const int* slots = a.at<int>();
      float* y = a.at<float>();
      if (first) count_experts(control, experts, slots, rows, format, out, in);
      return expert_matmul(format, w, experts, out, in, x, bits, rows, slots, y, a.at<void>(), team);
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
    case Kind::SoftmaxSums: {
      const float* x = a.at<float>();
      const int rows = a.integer(), n = a.integer();
      return softmax_sums(x, rows, n, a.at<float>(), team);
    }
    case Kind::SoftmaxMasses: {
      const float* x = a.at<float>();
      const float* temperatures = a.at<float>();
      const int rows = a.integer(), n = a.integer();
      return softmax_masses(x, temperatures, rows, n, a.at<float>(), team);
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
      const AttentionShape shape = {0, a.integer(), a.integer(), (PageFormat)a.integer()};
      const double* pages = a.at<double>();
      return append(keys, values, tokens, shape, pages, a.at<int>(), team);
    }
    case Kind::Attention: {
      const float* q = a.at<float>();
      float* y = a.at<float>();
      const AttentionShape shape = {a.integer(), a.integer(), a.integer(), (PageFormat)a.integer()};
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
    case Kind::Pack: {
      const int format = a.integer();
      const void* rows = a.at<void>();
      const int out = a.integer(), in = a.integer();
      return pack(format, rows, out, in, a.at<void>(), team);
    }
  }
  __builtin_trap();
}

}  // namespace

#if defined(__wasm__)
#define EXPORT(name) __attribute__((export_name(name)))
#else
#define EXPORT(name)
#endif

EXPORT("run") int run(Control* control, Program* program, int thread, int threads) {
  if (thread > 0 && !enter(*control, program->gate)) return 0;
  const int length = program->length;
  int waited = 0; // commands before this one are done
  int status = 0;
  for (int i = 0; status == 0 && i <= length;) {
    if (i == length ? thread == 0 : (program->commands[i].flags & flag_wait))
      for (; waited < i; waited++)
        if (!await(*control, program->commands[waited].gate)) status = 1;
    if (status != 0 || i == length) break;
    Command& command = program->commands[i];
    const int group = command.flags >> flag_group_shift;
    if (enter(*control, command.gate)) {
      const bool first = atomic_add(command.taken, 1) == 0;
      if (group == 0) execute(*control, command, thread, threads, first);
      else if (first)
        for (int j = i; j < i + group; j++) execute(*control, program->commands[j], 0, 1, true);
      shut(command.gate);
      leave(*control, command.gate);
    }
    i += group == 0 ? 1 : group;
  }
  if (thread == 0) shut(program->gate);
  else leave(*control, program->gate);
  return status;
}

EXPORT("await_program") int await_program(Control* control, Program* program) { return await(*control, program->gate) ? 0 : 1; }

EXPORT("wait_for_task") int wait_for_task(Control* control, int seen) {
  if (soon(4, [=] { return atomic_load(control->task) != seen; })) return atomic_load(control->task);
  atomic_add(control->idle, 1);
  while (atomic_load(control->task) == seen) sleep_while(control->task, seen, -1);
  atomic_add(control->idle, -1);
  return atomic_load(control->task);
}

EXPORT("begin_task") void begin_task(Control* control, int task) {
  atomic_store(control->task, task);
  if (atomic_load(control->idle) > 0) wake(control->task);
}

EXPORT("is_packed") int format_is_packed(int format) { return is_packed(format); }
EXPORT("matrix_bytes") double bytes_of_matrix(int format, int out, int in) { return (double)matrix_bytes(format, out, in); }
EXPORT("row_bytes") double stored_row_bytes(int format, int n) { return (double)row_bytes(format, n); }
EXPORT("activation_bits") int bits_of_activations(int format, int in, int words_below) {
  return activation_bits(format, in, words_below);
}
EXPORT("rounded_row_bytes") double bytes_of_rounded_row(int bits, int n) { return (double)rounded_row_bytes(bits, n); }
EXPORT("expert_scratch_bytes") double scratch_bytes(int experts, int rows, int threads) {
  return (double)expert_scratch_bytes(experts, rows, threads);
}
EXPORT("measure_dot") void measure(int form, int iterations) { measure_dot(form, iterations); }
EXPORT("choose_dot") void choose(int form) { choose_dot(form); }
