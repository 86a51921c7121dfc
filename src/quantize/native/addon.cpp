// The quantizing kernels behind Node-API: a call encodes rows that lie in a buffer into another one, in the thread that calls.
#define NAPI_VERSION 8
#include <node_api.h>

#include "../kernels/encode.h"
#include "../kernels/encoders.h"
#include "../../backends/native/processor.h"

namespace {

struct Call {
  napi_env env;
  napi_value values[12];
  size_t count = 12;
  Call(napi_env env, napi_callback_info info) : env(env) { napi_get_cb_info(env, info, &count, values, nullptr, nullptr); }
  double number(int i) const {
    double value = 0;
    napi_get_value_double(env, values[i], &value);
    return value;
  }
  /** Where a buffer's bytes are; null where the argument is null. */
  template <class T>
  T* bytes(int i) const {
    bool typed = false;
    void* data = nullptr;
    napi_is_typedarray(env, values[i], &typed);
    if (typed) napi_get_typedarray_info(env, values[i], nullptr, nullptr, &data, nullptr, nullptr);
    return (T*)data;
  }
  napi_value result(double value) const {
    napi_value made;
    napi_create_double(env, value, &made);
    return made;
  }
};

/// supported(): whether this machine runs these kernels. Nothing else may be called before it has said so.
napi_value supported(napi_env env, napi_callback_info) {
  napi_value result;
  napi_get_boolean(env, processor_supports_variant(), &result);
  return result;
}

/// encode(fromFormat, format, from, rows, columns, importance | null, out, scratch, grid | null)
napi_value encode(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result((double)encode_rows((int)call.number(0), (int)call.number(1), call.bytes<const void>(2), (int64_t)call.number(3),
                                         (int64_t)call.number(4), call.bytes<const float>(5), call.bytes<uint8_t>(6),
                                         call.bytes<float>(7), call.bytes<const void>(8)));
}

napi_value scratch_floats(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result((double)encode_scratch_floats((int64_t)call.number(0)));
}
napi_value grid_size(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result((double)grid_bytes((int)call.number(0)));
}
/// makeGrid(format, into)
napi_value put_grid(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  make_grid((int)call.number(0), call.bytes<void>(1));
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"supported", supported}, {"encode", encode}, {"scratchFloats", scratch_floats}, {"gridBytes", grid_size}, {"makeGrid", put_grid},
  };
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}
