// The command buffer: what the host writes and every thread runs. src/backends/compiled mirrors these numbers.
#pragma once
#include <stdint.h>

/// What a command does. Its arguments are listed in program.cpp, in the order in which the host writes them.
enum class Kind : uint32_t {
  Embed = 1,
  Quantize = 2,
  Matmul = 3,
  ExpertMatmul = 4,
  RmsNorm = 5,
  Rope = 6,
  TopK = 7,
  Swiglu = 8,
  Sigmoid = 9,
  Add = 10,
  ScaleRows = 11,
  GatherRows = 12,
  Append = 13,
  Attention = 14,
  AttentionMerge = 15,
  Pack = 16,
  SoftmaxSums = 17,
  SoftmaxMasses = 18,
};

/// The command waits until all earlier ones are done, because it touches what they touched.
constexpr uint32_t flag_wait = 1;
/// So little work that one thread does it alone. `flags >> flag_group_shift` commands from here on are such a group, done in
/// order by one thread; 0: all threads share the command.
constexpr uint32_t flag_group_shift = 8;

/// Counts who is inside, and says when nobody may come in any more. A gate that is shut with nobody inside is done for good.
constexpr int32_t gate_shut = 1 << 30;

/// 192 bytes. Arguments are doubles: exact up to 2⁵³, and the host writes addresses past 4 GiB without big integers.
struct alignas(64) Command {
  int32_t ticket;  // work claimed; with its neighbours alone in its cache line: every thread counts here
  int32_t gate;    // shut when no work is left to claim. In a group only the first command's gate is used, the others are shut
  int32_t taken;   // threads that came in; the first one takes a group
  int32_t unused[13];
  Kind kind;
  uint32_t flags;
  double arguments[15];
};
static_assert(sizeof(Command) == 192);

/// A command buffer. Each memory has two, so that a thread that was late may still be leaving the last one.
struct alignas(64) Program {
  int32_t gate;  // open while the program runs
  int32_t length;
  int32_t unused[14];
  Command commands[];
};
static_assert(sizeof(Program) == 64);

/// What a worker does when it wakes.
enum class Task : int32_t {
  Run = 0,     // a program of a memory
  Attach = 1,  // take a new memory from the message port
  Leave = 2,
};

/// One a memory, at an address the host chooses; what concerns workers is used in the first memory only. Fields that several
/// threads write lie in cache lines of their own.
struct Control {
  alignas(64) int32_t sleepers;  // threads asleep at a gate
  alignas(64) int32_t failed;    // not 0: a thread is lost, everybody leaves
  alignas(64) int32_t task;      // number << 12 | memory << 4 | program << 2 | Task; workers sleep on it
  alignas(64) int32_t idle;      // workers asleep between tasks
  int32_t attached;              // workers that have finished attaching
  alignas(64) int64_t weight_bytes;  // of weights read by matrix products so far
  int64_t multiply_adds;
};
static_assert(sizeof(Control) == 320);

// What the host calls. C names, as WebAssembly exports them and the native addon wraps them.
extern "C" {
/// Runs a program as one of `threads` threads. 0: all is done (for thread 0), or nothing is left to do; 1: a thread was lost.
/// A thread that has no work in its hands is waited for by nobody, so it does not matter when the system lets it run.
int run(Control* control, Program* program, int thread, int threads);
/// Waits until no thread is inside a program any more, so that it may be written anew. 1: a thread was lost.
int await_program(Control* control, Program* program);
/// Waits until the task is another than `seen`, and returns it.
int wait_for_task(Control* control, int seen);
void begin_task(Control* control, int task);

// The functions of matmul.h, as what a host can call.
int format_is_packed(int format);
double bytes_of_matrix(int format, int out, int in);
int bits_of_activations(int format, int in, int words_below);
double bytes_of_rounded_row(int bits, int n);
double scratch_bytes(int experts, int rows, int threads);
void measure(int form, int iterations);
void choose(int form);
}
