// Counts the instructions of a product by running it one instruction at a time, on any instruction set that this processor has.
//   instructions FORMAT OUT IN ROWS → the number of instructions. Linux on x86-64.
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "matmul.h"

namespace {

__attribute__((noinline)) void begin() { __asm__ volatile(""); }
__attribute__((noinline)) void end() { __asm__ volatile("nop"); }

/// Memory for weights and activations; what lies there changes no count.
void* zeros(size_t bytes) {
  void* const p = aligned_alloc(64, (bytes + 127) / 64 * 64);
  memset(p, 0, bytes);
  return p;
}

void product(int format, int out, int in, int rows) {
  constexpr int bits = 8;
  const void* const w = zeros(matrix_bytes(format, out, in));
  const void* const x = zeros(rows * rounded_row_bytes(bits, in));
  float* const y = (float*)zeros(sizeof(float) * rows * out);
  int ticket = 0;
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  raise(SIGSTOP);
  begin();
  matmul(format, w, out, in, x, bits, rows, y, {0, 1, &ticket});
  end();
  _exit(0);
}

}  // namespace

int main(int count, char** words) {
  if (count != 5) {
    fprintf(stderr, "instructions FORMAT OUT IN ROWS\n");
    return 2;
  }
  int numbers[4];
  for (int i = 0; i < 4; i++) numbers[i] = atoi(words[i + 1]);
  const pid_t child = fork();
  if (child == 0) product(numbers[0], numbers[1], numbers[2], numbers[3]);
  int status;
  long long steps = -1; // counted from `begin` on
  for (;;) {
    if (waitpid(child, &status, 0) != child || WIFEXITED(status)) break;
    // A fork has its code where this process has it.
    const auto at = (unsigned long long)ptrace(PTRACE_PEEKUSER, child, offsetof(user, regs.rip), nullptr);
    if (at == (unsigned long long)&begin) steps = 0;
    if (at == (unsigned long long)&end) {
      printf("%lld\n", steps);
      kill(child, SIGKILL);
      return 0;
    }
    if (steps >= 0) steps++;
    if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) break;
  }
  fprintf(stderr, "The product could not be followed to its end; are other processes allowed to trace (ptrace_scope)?\n");
  return 1;
}
