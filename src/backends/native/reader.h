// Reads stretches of files into weights on threads of its own: past the system's page cache, many at once, packed on the way.
#pragma once
#include "system.h"

#if !defined(_WIN32)
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../kernels/checksum.h"
#include "../kernels/pack.h"

/// Direct reads begin and end at multiples of this, in the file and in memory.
constexpr size_t direct_bytes = 4096;
constexpr int most_files = 4096, most_readers = 64, most_parts = 3;

/// What a read ended with, beside the system's own numbers.
constexpr int read_cancelled = -1, read_too_short = -2, read_changed = -3;

struct ReaderFile {
  int descriptor;
  bool direct;
  struct stat opened;
};

/// A matrix: `rows` rows of `in` numbers, from byte `offset` of a file on, to where they lie packed.
struct Part {
  int file;
  uint64_t offset;
  int format, rows, in;
  char* to;
  /// Rows that are read at once: whole tiles.
  int chunk_rows;
  int chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
};

struct Request {
  uint32_t id;
  Part parts[most_parts];
  int part_count;
  /// The next chunk to be read, of which part.
  int part, chunk;
  /// Chunks that threads have in their hands.
  int in_hand;
  bool urgent, listed;
  int status;
  uint64_t checksum;
  Request* next;
};

/// What a test makes of the n-th read from now on: 1 an error of the device, 2 half of what was asked for, 3 the end of the file,
/// 4 a wrong byte.
struct Fault {
  int64_t after;
  int kind;
};

struct Reader {
  pthread_mutex_t lock;
  pthread_cond_t work;
  Request* urgent;
  Request* idle;
  ReaderFile files[most_files];
  int file_count;
  SystemThread threads[most_readers];
  int thread_count;
  /// Of these, so many may read what is not urgent.
  int idle_most, idle_now;
  size_t chunk_bytes;
  bool leaving;
  Fault fault;
  /// Called by a thread when a request is over; the request is the callee's from then on.
  void (*over)(void* owner, Request* request);
  void* owner;
};

/// 0, or the system's number. A file on a system without direct reads is read in the usual way, and what it left in memory is dropped.
static inline int open_for_reading(Reader* reader, const char* path, int* index) {
  if (reader->file_count == most_files) return EMFILE;
  ReaderFile file = {};
#if defined(O_DIRECT)
  file.descriptor = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
  file.direct = file.descriptor >= 0;
  void* probe = nullptr;
  if (file.direct && posix_memalign(&probe, direct_bytes, direct_bytes) == 0) {
    if (pread(file.descriptor, probe, direct_bytes, 0) < 0) {
      close(file.descriptor);
      file.direct = false;
    }
    free(probe);
  }
#endif
  if (!file.direct) file.descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (file.descriptor < 0) return errno;
#if defined(F_NOCACHE)
  fcntl(file.descriptor, F_NOCACHE, 1);
#endif
  if (fstat(file.descriptor, &file.opened) != 0) {
    const int error = errno;
    close(file.descriptor);
    return error;
  }
  *index = reader->file_count;
  reader->files[reader->file_count++] = file;
  return 0;
}

#if defined(__APPLE__)
#define MODIFIED st_mtimespec
#else
#define MODIFIED st_mtim
#endif

static inline bool is_unchanged(const ReaderFile& file) {
  struct stat now;
  return fstat(file.descriptor, &now) == 0 && now.st_size == file.opened.st_size && now.MODIFIED.tv_sec == file.opened.MODIFIED.tv_sec &&
         now.MODIFIED.tv_nsec == file.opened.MODIFIED.tv_nsec;
}

/// One call of the system's, or what a test makes of it.
static inline ssize_t read_once(Reader* reader, int descriptor, char* into, size_t bytes, uint64_t offset) {
  int fault = 0;
  if (__atomic_load_n(&reader->fault.kind, __ATOMIC_RELAXED) != 0 && __atomic_fetch_sub(&reader->fault.after, 1, __ATOMIC_RELAXED) == 0)
    fault = __atomic_exchange_n(&reader->fault.kind, 0, __ATOMIC_RELAXED);
  if (fault == 1) {
    errno = EIO;
    return -1;
  }
  if (fault == 2) bytes = (bytes / 2 + direct_bytes - 1) & -direct_bytes;
  if (fault == 3) return 0;
  const ssize_t got = pread(descriptor, into, bytes, (off_t)offset);
  if (fault == 4 && got > 0) into[got / 2] ^= 1;
  return got;
}

/// Reads bytes [offset, offset + bytes) to somewhere in `staging`, and says where. 0, or what went wrong.
static inline int read_stretch(Reader* reader, const ReaderFile& file, uint64_t offset, size_t bytes, char* staging, char** found) {
  const uint64_t start = file.direct ? offset & -(uint64_t)direct_bytes : offset;
  const size_t wanted = (size_t)(offset + bytes - start);
  const size_t whole = file.direct ? (wanted + direct_bytes - 1) & -direct_bytes : wanted;
  *found = staging + (offset - start);
  for (size_t done = 0; done < wanted;) {
    const ssize_t got = read_once(reader, file.descriptor, staging + done, whole - done, start + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return read_too_short;
    done += (size_t)got;
    // Only at its end does a file give a part of a block; a read from within one would be refused.
    if (file.direct && done < wanted && done % direct_bytes != 0) return read_too_short;
  }
#if defined(POSIX_FADV_DONTNEED)
  if (!file.direct) posix_fadvise(file.descriptor, (off_t)start, (off_t)whole, POSIX_FADV_DONTNEED);
#endif
  return 0;
}

static inline void unlist(Request** list, Request* request) {
  while (*list != request) list = &(*list)->next;
  *list = request->next;
  request->next = nullptr;
  request->listed = false;
}

static inline void append_to(Request** list, Request* request) {
  while (*list) list = &(*list)->next;
  *list = request;
  request->next = nullptr;
  request->listed = true;
}

static inline Request** list_of(Reader* reader, const Request* request) { return request->urgent ? &reader->urgent : &reader->idle; }

/// With the lock held: nothing more of this request is begun.
static inline void give_up(Reader* reader, Request* request, int status) {
  if (request->status == 0) request->status = status;
  if (request->listed) unlist(list_of(reader, request), request);
}

static inline ThreadResult THREAD_CALL read_requests(void* argument) {
  Reader* const reader = (Reader*)argument;
  // In huge pages: a device takes so many pieces of memory a request, and small pages made it three times slower (docs/streaming.md).
  const size_t staging_bytes = (reader->chunk_bytes + 2 * direct_bytes + step_bytes - 1) & -step_bytes;
  char* staging = reserve_range(staging_bytes);
  if (staging && !commit_range(staging, staging_bytes)) {
    release_range(staging, staging_bytes);
    staging = nullptr;
  }
  pthread_mutex_lock(&reader->lock);
  for (;;) {
    Request* request = reader->urgent;
    if (!request && reader->idle_now < reader->idle_most) request = reader->idle;
    if (!request) {
      if (reader->leaving) break;
      pthread_cond_wait(&reader->work, &reader->lock);
      continue;
    }
    const Part part = request->parts[request->part];
    const int chunk = request->chunk, index = request->part;
    if (++request->chunk == part.chunks()) {
      request->chunk = 0;
      if (++request->part == request->part_count) unlist(list_of(reader, request), request);
    }
    request->in_hand++;
    const bool urgent = request->urgent;
    if (!urgent) reader->idle_now++;
    const ReaderFile file = reader->files[part.file];
    pthread_mutex_unlock(&reader->lock);

    const int first = chunk * part.chunk_rows, rows = first + part.chunk_rows < part.rows ? part.chunk_rows : part.rows - first;
    const size_t stride = row_bytes(part.format, part.in);
    const uint64_t offset = part.offset + (uint64_t)first * stride;
    char* found;
    int status = staging ? read_stretch(reader, file, offset, rows * stride, staging, &found) : ENOMEM;
    uint64_t sum = 0;
    if (status == 0) {
      sum = checksum_of_chunk(found, rows * stride, (uint32_t)index, (uint32_t)chunk);
      pack_rows(part.format, found, rows, part.in, part.to + (size_t)first * stride);
    }

    pthread_mutex_lock(&reader->lock);
    if (!urgent) reader->idle_now--;
    request->checksum += sum;
    if (status != 0) give_up(reader, request, status);
    const bool last = --request->in_hand == 0 && !request->listed;
    if (!urgent && reader->idle) pthread_cond_signal(&reader->work);
    if (!last) continue;
    pthread_mutex_unlock(&reader->lock);
    for (int i = 0; i < request->part_count && request->status == 0; i++)
      if (!is_unchanged(reader->files[request->parts[i].file])) request->status = read_changed;
    reader->over(reader->owner, request);
    pthread_mutex_lock(&reader->lock);
  }
  pthread_mutex_unlock(&reader->lock);
  if (staging) release_range(staging, staging_bytes);
  return {};
}

static inline Reader* create_reader(int threads, int idle_most, size_t chunk_bytes, void (*over)(void*, Request*), void* owner) {
  Reader* const reader = (Reader*)calloc(1, sizeof(Reader));
  if (!reader) return nullptr;
  pthread_mutex_init(&reader->lock, nullptr);
  pthread_cond_init(&reader->work, nullptr);
  reader->idle_most = idle_most;
  reader->chunk_bytes = chunk_bytes;
  reader->over = over;
  reader->owner = owner;
  while (reader->thread_count < threads && start_thread(&reader->threads[reader->thread_count], read_requests, reader)) reader->thread_count++;
  return reader;
}

/// The reader owns the request until it is over.
static inline void begin_request(Reader* reader, Request* request) {
  pthread_mutex_lock(&reader->lock);
  append_to(list_of(reader, request), request);
  pthread_cond_broadcast(&reader->work);
  pthread_mutex_unlock(&reader->lock);
}

/// Finds a request that is not begun in full; with the lock held.
static inline Request* find_request(Reader* reader, uint32_t id) {
  for (Request* request = reader->urgent; request; request = request->next)
    if (request->id == id) return request;
  for (Request* request = reader->idle; request; request = request->next)
    if (request->id == id) return request;
  return nullptr;
}

/// What was read ahead is wanted now.
static inline void hurry_request(Reader* reader, uint32_t id) {
  pthread_mutex_lock(&reader->lock);
  Request* const request = find_request(reader, id);
  if (request && !request->urgent) {
    unlist(&reader->idle, request);
    request->urgent = true;
    append_to(&reader->urgent, request);
    pthread_cond_broadcast(&reader->work);
  }
  pthread_mutex_unlock(&reader->lock);
}

/// No more of a request is read; it is over soon, with `read_cancelled` if anything of it was left.
static inline void cancel_request(Reader* reader, uint32_t id) {
  pthread_mutex_lock(&reader->lock);
  Request* const request = find_request(reader, id);
  bool over = false;
  if (request) {
    give_up(reader, request, read_cancelled);
    over = request->in_hand == 0;
  }
  pthread_mutex_unlock(&reader->lock);
  if (over) reader->over(reader->owner, request);
}

/// Requests not begun in full are dropped, the threads end, and nothing is called any more.
static inline void free_reader(Reader* reader) {
  pthread_mutex_lock(&reader->lock);
  reader->leaving = true;
  while (Request* const request = reader->urgent ? reader->urgent : reader->idle) {
    give_up(reader, request, read_cancelled);
    if (request->in_hand == 0) free(request);
  }
  pthread_cond_broadcast(&reader->work);
  pthread_mutex_unlock(&reader->lock);
  for (int i = 0; i < reader->thread_count; i++) join_thread(reader->threads[i]);
  for (int i = 0; i < reader->file_count; i++) close(reader->files[i].descriptor);
  pthread_mutex_destroy(&reader->lock);
  pthread_cond_destroy(&reader->work);
  free(reader);
}
#endif
