// Reads memory end to end with some threads and prints the GB/s that they reach together: what decoding is measured against.
//   read-bandwidth [threads 2] [megabytes 512] [passes 9]
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <vector>

namespace {

typedef unsigned long long Words __attribute__((vector_size(64)));

constexpr size_t huge_page = 2 << 20;
char* memory;
size_t bytes;
int threads;
pthread_barrier_t gate;

double seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/// Each thread reads a part of its own: nothing is shared, and nothing is waited for but the end.
void read_part(int thread) {
  const size_t part = bytes / threads / 256 * 256;
  const char *p = memory + part * thread, *const end = p + part;
  Words sums[4] = {};
  for (; p < end; p += 256)
    for (int i = 0; i < 4; i++) sums[i] ^= *(const Words*)(p + 64 * i);
  static volatile unsigned long long sink;
  sink = (sums[0] ^ sums[1] ^ sums[2] ^ sums[3])[0]; // or nothing would be read
}

void* work(void* thread) {
  for (;;) {
    pthread_barrier_wait(&gate);
    read_part((int)(size_t)thread);
    pthread_barrier_wait(&gate);
  }
}

}  // namespace

int main(int count, char** words) {
  threads = count > 1 ? atoi(words[1]) : 2;
  bytes = (size_t)(count > 2 ? atoi(words[2]) : 512) << 20;
  const int passes = count > 3 ? atoi(words[3]) : 9;
  if (threads < 1 || passes < 1 || bytes == 0) {
    fprintf(stderr, "read-bandwidth [threads] [megabytes] [passes]: each a number above 0\n");
    return 2;
  }
  void* const all = mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) {
    perror("read-bandwidth");
    return 1;
  }
  memory = (char*)(((size_t)all + huge_page - 1) & -huge_page);
#if defined(MADV_HUGEPAGE)
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  memset(memory, 1, bytes);
  pthread_barrier_init(&gate, nullptr, threads);
  for (int thread = 1; thread < threads; thread++) {
    pthread_t handle;
    if (pthread_create(&handle, nullptr, work, (void*)(size_t)thread) != 0) return 1;
  }
  std::vector<double> rates;
  for (int pass = 0; pass < passes; pass++) {
    pthread_barrier_wait(&gate);
    const double start = seconds();
    read_part(0);
    pthread_barrier_wait(&gate);
    rates.push_back((double)bytes / (seconds() - start) / 1e9);
  }
  std::sort(rates.begin(), rates.end());
  printf("%.2f\n", rates[rates.size() / 2]);
  return 0;
}
