// The kernels behind Node-API: memory, threads and programs for one backend after the other, in any thread of Node's.
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>

#include "../kernels/matmul.h"
#include "../kernels/program.h"
#include "../kernels/atomics.h"
#include "populate.h"
#include "processor.h"
#include "reader.h"
#include "system.h"

namespace {

constexpr int most_banks = 256, most_threads = 64, programs_a_bank = 2;

/// A range of addresses and the ArrayBuffer over it. The two go in any order when Node ends, and the last one frees the range.
struct Range {
  char* start;
  size_t bytes;
  int holders;
};

void let_go(Range* range) {
  if (--range->holders > 0) return;
  if (range->start) release_range(range->start, range->bytes);
  free(range);
}

struct Bank {
  Range* range;
  napi_ref buffer;
  Control* control;
  Program* programs[programs_a_bank];
  int64_t weight_bytes, multiply_adds;  // of programs that ended
};

struct Pool;
struct Worker {
  Pool* pool;
  int thread;
  SystemThread handle;
};

/// What one backend has: banks, and the threads beside the caller's.
struct Pool {
  Bank banks[most_banks];
  int bank_count;
  Worker workers[most_threads];
  int started;  // workers, thread 0 not counted
  int threads;
  int begun;  // tasks
  bool lost, disposed;
  Populator populator;
  struct Reader* reader;
  napi_threadsafe_function read_over;
  int reading;  // requests under way
};

/// A task is a number that no other recent one has, the bank, the program and what to do: see `Control::task`.
void begin(Pool* pool, Task task, int bank = 0, int program = 0) {
  pool->begun = (pool->begun + 1) & 0x7ffff;
  begin_task(pool->banks[0].control, pool->begun << 12 | bank << 4 | program << 2 | (int)task);
}

ThreadResult THREAD_CALL work(void* argument) {
  const Worker& worker = *(Worker*)argument;
  const Pool& pool = *worker.pool;
  for (int seen = 0;;) {
    seen = wait_for_task(pool.banks[0].control, seen);
    if ((Task)(seen & 3) != Task::Run) return {};
    const Bank& bank = pool.banks[(seen >> 4) & 255];
    if (run(bank.control, bank.programs[(seen >> 2) & 3], worker.thread, pool.threads) != 0) return {};
  }
}

#if !defined(_WIN32)
/// Ends the threads that read, before what they write to goes.
void stop_reading(void* data) {
  Pool* const pool = (Pool*)data;
  if (!pool->reader) return;
  free_reader(pool->reader);
  pool->reader = nullptr;
  napi_release_threadsafe_function(pool->read_over, napi_tsfn_abort);
}
#endif

void stop(Pool* pool) {
  pool->populator.stop();
  if (pool->started == 0) return;
  begin(pool, Task::Leave);
  for (int i = 0; i < pool->started; i++) join_thread(pool->workers[i].handle);
  pool->started = 0;
}

// --- Node-API ---

napi_value fail(napi_env env, const char* message, bool range = false) {
  if (range) napi_throw_range_error(env, nullptr, message);
  else napi_throw_error(env, nullptr, message);
  return nullptr;
}

/// A call's arguments: numbers, and first, for functions of a pool, the pool.
struct Call {
  napi_env env;
  napi_value values[8];
  size_t count = 8;
  Call(napi_env env, napi_callback_info info) : env(env) { napi_get_cb_info(env, info, &count, values, nullptr, nullptr); }
  double number(int i) const {
    double value = 0;
    napi_get_value_double(env, values[i], &value);
    return value;
  }
  int integer(int i) const { return (int)number(i); }
  template <class T>
  T* address(int i) const {
    return (T*)(uintptr_t)number(i);
  }
  Pool* pool() const {
    void* pool = nullptr;
    napi_get_value_external(env, values[0], &pool);
    return (Pool*)pool;
  }
  Bank& bank() const { return pool()->banks[integer(1)]; }
  napi_value result(double value) const {
    napi_value made;
    napi_create_double(env, value, &made);
    return made;
  }
};

/// A pool that nobody holds any more, or whose Node thread ends: its threads end first, then its memory goes.
void free_pool(napi_env env, void* data, void*) {
  Pool* const pool = (Pool*)data;
#if !defined(_WIN32)
  if (pool->reader) {
    napi_remove_env_cleanup_hook(env, stop_reading, pool);
    stop_reading(pool);
  }
#endif
  pool->populator.stop();
  if (pool->lost) return; // a thread may be anywhere: its memory stays
  if (!pool->disposed) {
    stop(pool);
    for (int i = 0; i < pool->bank_count; i++) {
      napi_delete_reference(env, pool->banks[i].buffer);
      let_go(pool->banks[i].range);
    }
  }
  free(pool);
}

/// supported(): whether this machine runs these kernels. Nothing else may be called before it has said so.
napi_value supported(napi_env env, napi_callback_info) {
  napi_value result;
  napi_get_boolean(env, processor_supports_variant(), &result);
  return result;
}

/// createPool(threads)
napi_value create_pool(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Pool* const pool = (Pool*)calloc(1, sizeof(Pool));
  if (!pool) return fail(env, "No memory for a pool of threads.", true);
  pool->threads = call.integer(0);
  choose_prefetch(processor_wants_prefetch());
  napi_value external;
  napi_create_external(env, pool, free_pool, nullptr, &external);
  return external;
}

/// reserve(pool, bytes): { base, buffer } of a new bank, or undefined if the system grants no such range.
napi_value reserve(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Pool* const pool = call.pool();
  if (pool->bank_count == most_banks) return fail(env, "A backend has at most 256 banks.", true);
  Range* const range = (Range*)calloc(1, sizeof(Range));
  if (!range) return nullptr;
  range->bytes = (size_t)call.number(1);
  range->holders = 1;
  range->start = reserve_range(range->bytes);
  if (!range->start) {
    free(range);
    return nullptr;
  }
  napi_value buffer, base, result;
  const auto finalize = [](napi_env, void*, void* hint) { let_go((Range*)hint); };
  if (napi_create_external_arraybuffer(env, range->start, range->bytes, finalize, range, &buffer) != napi_ok) {
    let_go(range);
    return fail(env, "Node makes no ArrayBuffer over the memory reserved.");
  }
  range->holders++;
  Bank& bank = pool->banks[pool->bank_count++];
  bank.range = range;
  napi_create_reference(env, buffer, 1, &bank.buffer);
  napi_create_double(env, (double)(uintptr_t)range->start, &base);
  napi_create_object(env, &result);
  napi_set_named_property(env, result, "buffer", buffer);
  napi_set_named_property(env, result, "base", base);
  return result;
}

/// commit(pool, bank, from, to): whether the bytes between these offsets, multiples of 4096, may be used.
napi_value commit(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  const size_t from = (size_t)call.number(2), to = (size_t)call.number(3);
  napi_value result;
  napi_get_boolean(env, commit_range(call.bank().range->start + from, to - from), &result);
  return result;
}

/// discard(pool, bank, from, to): what lies between these offsets is wanted no more.
napi_value discard(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  const size_t page = 4096, from = ((size_t)call.number(2) + page - 1) & -page, to = (size_t)call.number(3) & -page;
  if (from < to) discard_range(call.bank().range->start + from, to - from);
  return nullptr;
}

/// expect(pool, bank, from, to): the bytes between these offsets, which may be used, will be written soon.
napi_value expect(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  const Range& range = *call.bank().range;
  Populator& populator = call.pool()->populator;
  if (call.integer(1) > 0) return nullptr; // further banks are for machines where one does not do
  populator.expect(range.start + (size_t)call.number(2), range.start + (size_t)call.number(3));
  return nullptr;
}

/// attach(pool, bank, control, program, program): the addresses of a bank, before anything runs there.
napi_value attach(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Bank& bank = call.bank();
  bank.control = call.address<Control>(2);
  for (int i = 0; i < programs_a_bank; i++) bank.programs[i] = call.address<Program>(3 + i);
  return nullptr;
}

/// start(pool): the threads, once bank 0 is attached.
napi_value start(napi_env env, napi_callback_info info) {
  Pool* const pool = Call(env, info).pool();
  for (int thread = 1; thread < pool->threads; thread++) {
    Worker& worker = pool->workers[pool->started];
    worker.pool = pool;
    worker.thread = thread;
    if (!start_thread(&worker.handle, work, &worker)) {
      char message[160];
      snprintf(message, sizeof message,
               "The system starts no compute thread %d of %d; raise the limit on threads (ulimit -u), or use fewer.",
               thread + 1, pool->threads);
      return fail(env, message);
    }
    pool->started++;
  }
  return nullptr;
}

/// begin(pool, bank, turn, threads): gives the bank's program `turn` to the other threads, and waits until none is inside the one
/// that is written next. 0, or 1 when a thread was lost.
napi_value begin_program(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Pool* const pool = call.pool();
  const int index = call.integer(1), turn = call.integer(2), threads = call.integer(3);
  const Bank& bank = pool->banks[index];
  pool->populator.begin_program();
  if (threads > 1) begin(pool, Task::Run, index, turn);
  const int status = await_program(bank.control, bank.programs[(turn + 1) % programs_a_bank]);
  if (status != 0) pool->lost = true;
  return call.result(status);
}

/// Whether the bank's last program did few products with each byte of weights: one row of activations does half a product to five.
bool mostly_read(Bank& bank) {
  constexpr int most = 16;
  const int64_t bytes = count(bank.control->weight_bytes, 0), products = count(bank.control->multiply_adds, 0);
  const bool few = products - bank.multiply_adds < most * (bytes - bank.weight_bytes);
  bank.weight_bytes = bytes;
  bank.multiply_adds = products;
  return few;
}

/// finish(pool, bank, turn, threads): runs a program that was begun, with the others, to its end. 0, or 1 when a thread was lost.
napi_value finish_program(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Pool* const pool = call.pool();
  Bank& bank = call.bank();
  const int status = run(bank.control, bank.programs[call.integer(2)], 0, call.integer(3));
  pool->populator.end_program(mostly_read(bank));
  if (status != 0) pool->lost = true;
  return call.result(status);
}

#if !defined(_WIN32)
/// In Node's thread: says how a request ended.
void report_read(napi_env env, napi_value callback, void* context, void* data) {
  Pool* const pool = (Pool*)context;
  Request* const request = (Request*)data;
  if (env) {
    if (--pool->reading == 0) napi_unref_threadsafe_function(env, pool->read_over);
    napi_value undefined, arguments[4];
    napi_get_undefined(env, &undefined);
    napi_create_uint32(env, request->id, &arguments[0]);
    napi_create_int32(env, request->status, &arguments[1]);
    napi_create_uint32(env, (uint32_t)(request->checksum >> 32), &arguments[2]);
    napi_create_uint32(env, (uint32_t)request->checksum, &arguments[3]);
    napi_call_function(env, undefined, callback, 4, arguments, nullptr);
  }
  free(request);
}

/// createReader(pool, threads, idleMost, chunkBytes, callback(id, status, checksumHigh, checksumLow))
napi_value make_reader(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Pool* const pool = call.pool();
  napi_value name;
  napi_create_string_utf8(env, "maverick reads", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, call.values[4], nullptr, name, 0, 1, nullptr, nullptr, pool, report_read, &pool->read_over) != napi_ok)
    return fail(env, "Node makes no function that other threads may call.");
  napi_unref_threadsafe_function(env, pool->read_over);
  const auto over = [](void* owner, Request* request) {
    if (napi_call_threadsafe_function(((Pool*)owner)->read_over, request, napi_tsfn_nonblocking) != napi_ok) free(request);
  };
  pool->reader = create_reader(call.integer(1), call.integer(2), (size_t)call.number(3), over, pool);
  if (!pool->reader || pool->reader->thread_count == 0) {
    stop_reading(pool);
    return fail(env, "The system starts no thread that reads files; raise the limit on threads (ulimit -u).");
  }
  // Hooks run before what was made earlier goes: no thread calls into a Node that is ending.
  napi_add_env_cleanup_hook(env, stop_reading, pool);
  return nullptr;
}

/// openFile(pool, path): its number, or the system's error below zero.
napi_value open_file(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  char path[4096];
  size_t length;
  napi_get_value_string_utf8(env, call.values[1], path, sizeof path, &length);
  if (length == sizeof path - 1) return call.result(-ENAMETOOLONG);
  int index;
  const int error = open_for_reading(call.pool()->reader, path, &index);
  return call.result(error == 0 ? index : -error);
}

/// read(pool, id, urgent, Float64Array of file, offset, format, rows, in, address, rows of a chunk, for each part)
napi_value begin_read(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Pool* const pool = call.pool();
  Request* const request = (Request*)calloc(1, sizeof(Request));
  if (!request) return fail(env, "No memory for a request.", true);
  request->id = (uint32_t)call.number(1);
  request->urgent = call.integer(2) != 0;
  size_t length;
  void* data;
  napi_get_typedarray_info(env, call.values[3], nullptr, &length, &data, nullptr, nullptr);
  const double* n = (const double*)data;
  for (; length >= 7 && request->part_count < most_parts; n += 7, length -= 7)
    request->parts[request->part_count++] = {(int)n[0], (uint64_t)n[1], (int)n[2], (int)n[3], (int)n[4], (char*)(uintptr_t)n[5], (int)n[6]};
  if (pool->reading++ == 0) napi_ref_threadsafe_function(env, pool->read_over);
  begin_request(pool->reader, request);
  return nullptr;
}

/// hurryRead(pool, id): it is urgent by now.
napi_value hurry_read(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  hurry_request(call.pool()->reader, (uint32_t)call.number(1));
  return nullptr;
}

/// cancelRead(pool, id)
napi_value cancel_read(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  cancel_request(call.pool()->reader, (uint32_t)call.number(1));
  return nullptr;
}

/// failRead(pool, after, kind), for tests: see `Fault`.
napi_value fail_read(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  Reader* const reader = call.pool()->reader;
  __atomic_store_n(&reader->fault.after, (int64_t)call.number(1), __ATOMIC_RELAXED);
  __atomic_store_n(&reader->fault.kind, call.integer(2), __ATOMIC_RELAXED);
  return nullptr;
}
#endif

/// dispose(pool): ends the threads and gives all memory back; views of it have no bytes from then on.
napi_value dispose(napi_env env, napi_callback_info info) {
  Pool* const pool = Call(env, info).pool();
#if !defined(_WIN32)
  if (pool->reader) {
    napi_remove_env_cleanup_hook(env, stop_reading, pool);
    stop_reading(pool);
  }
#endif
  if (pool->lost || pool->disposed) return nullptr;
  pool->disposed = true;
  stop(pool);
  for (int i = 0; i < pool->bank_count; i++) {
    Bank& bank = pool->banks[i];
    napi_value buffer;
    napi_get_reference_value(env, bank.buffer, &buffer);
    napi_detach_arraybuffer(env, buffer);
    napi_delete_reference(env, bank.buffer);
    release_range(bank.range->start, bank.range->bytes);
    bank.range->start = nullptr;
    let_go(bank.range);
  }
  return nullptr;
}

napi_value query_activation_bits(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result(bits_of_activations(call.integer(0), call.integer(1), call.integer(2)));
}

napi_value query_is_packed(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result(format_is_packed(call.integer(0)));
}

napi_value query_matrix_bytes(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result(bytes_of_matrix(call.integer(0), call.integer(1), call.integer(2)));
}

napi_value query_rounded_row_bytes(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result(bytes_of_rounded_row(call.integer(0), call.integer(1)));
}

napi_value query_expert_scratch_bytes(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result(scratch_bytes(call.integer(0), call.integer(1), call.integer(2)));
}

}  // namespace

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"supported", supported},
      {"createPool", create_pool},
      {"reserve", reserve},
      {"commit", commit},
      {"discard", discard},
      {"expect", expect},
      {"attach", attach},
      {"start", start},
      {"begin", begin_program},
      {"finish", finish_program},
#if !defined(_WIN32)
      {"createReader", make_reader},
      {"openFile", open_file},
      {"read", begin_read},
      {"hurryRead", hurry_read},
      {"cancelRead", cancel_read},
      {"failRead", fail_read},
#endif
      {"dispose", dispose},
      {"is_packed", query_is_packed},
      {"matrix_bytes", query_matrix_bytes},
      {"activation_bits", query_activation_bits},
      {"rounded_row_bytes", query_rounded_row_bytes},
      {"expert_scratch_bytes", query_expert_scratch_bytes},
  };
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}
