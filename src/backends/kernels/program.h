// The command buffer: what the host writes and every thread runs. src/backends/wasm/program.ts mirrors these numbers.
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
};

/// All threads meet before the command, because it touches what earlier ones touched.
constexpr uint32_t flag_barrier = 1;
/// So little work that thread 0 does it alone; a chain of such commands needs no meeting.
constexpr uint32_t flag_single = 2;

/// 192 bytes. Arguments are doubles: exact up to 2⁵³, and the host writes addresses past 4 GiB without big integers.
struct alignas(64) Command {
  int32_t ticket;  // alone in its cache line: every thread counts here while it reads the next line
  int32_t unused[15];
  Kind kind;
  uint32_t flags;
  double arguments[15];
};
static_assert(sizeof(Command) == 192);

/// What a worker does when it wakes.
enum class Task : int32_t {
  Run = 0,     // `commands` commands of memory `bank`'s program
  Attach = 1,  // take a new memory from the message port
  Leave = 2,
};

/// One a memory, at an address the host chooses; what concerns workers is used in the first memory only. Fields that several
/// threads write lie in cache lines of their own.
struct Control {
  alignas(64) int32_t arrived;     // threads at the barrier
  alignas(64) int32_t generation;  // barriers passed; threads sleep on it
  alignas(64) int32_t sleepers;    // threads asleep at the barrier
  alignas(64) int32_t failed;      // not 0: a thread is lost, everybody leaves
  alignas(64) int32_t sequence;    // tasks begun; workers sleep on it
  Task task;
  int32_t bank;
  int32_t commands;
  alignas(64) int32_t idle;  // workers asleep between tasks
  int32_t attached;          // workers that have finished attaching
  alignas(64) double weight_bytes;  // of weights read by matrix products so far
  double multiply_adds;
};
static_assert(sizeof(Control) == 448);
