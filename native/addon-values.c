#include "addon-values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LARGEST_U64 (1ULL << 62)

int throw_error(napi_env env, const char *code, const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  napi_throw_error(env, code, text);
  return -1;
}

int throw_errno(napi_env env, int error, const char *what) {
  char code[16];
  const char *name = strerrorname_np(error);
  snprintf(code, sizeof code, "E%d", error);
  return throw_error(env, name ? name : code, "%s: %s", what, strerror(error));
}

void *get_external(napi_env env, napi_value value, const napi_type_tag *tag, const char *otherwise) {
  bool is_ours = false;
  void *data = NULL;
  if (napi_check_object_type_tag(env, value, tag, &is_ours) == napi_ok && is_ours &&
      napi_get_value_external(env, value, &data) == napi_ok)
    return data;
  throw_error(env, "EINVAL", "%s", otherwise);
  return NULL;
}

int get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *out) {
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, out, NULL, NULL) != napi_ok || given < count)
    return throw_error(env, "EINVAL", "%zu arguments are needed", count);
  return 0;
}

int get_number(napi_env env, napi_value value, double low, double high, double *out) {
  if (napi_get_value_double(env, value, out) != napi_ok || !(*out >= low && *out <= high))
    return throw_error(env, "EINVAL", "a number from %.0f to %.0f is needed", low, high);
  return 0;
}

int get_u32(napi_env env, napi_value value, uint32_t high, uint32_t *out) {
  double number;
  if (get_number(env, value, 0, high, &number) < 0) return -1;
  *out = (uint32_t)number;
  return 0;
}

static int get_field(napi_env env, napi_value object, const char *name, napi_value *out) {
  if (napi_get_named_property(env, object, name, out) == napi_ok) return 0;
  return throw_error(env, "EINVAL", "%s cannot be read", name);
}

int get_field_u32(napi_env env, napi_value object, const char *name, uint32_t high, uint32_t *out) {
  napi_value value;
  double number;
  if (get_field(env, object, name, &value) < 0) return -1;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= high))
    return throw_error(env, "EINVAL", "%s must be a number from 0 to %u", name, high);
  *out = (uint32_t)number;
  return 0;
}

int get_field_string(napi_env env, napi_value object, const char *name, char *out, size_t size) {
  napi_value value;
  size_t length = 0;
  if (get_field(env, object, name, &value) < 0) return -1;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok || length >= size)
    return throw_error(env, "EINVAL", "%s must be a text of at most %zu bytes", name, size - 1);
  napi_get_value_string_utf8(env, value, out, size, &length);
  return 0;
}

int get_typed_array(napi_env env, napi_value value, napi_typedarray_type type, void **out, size_t *count) {
  napi_typedarray_type actual;
  bool is_typed_array = false;
  napi_is_typedarray(env, value, &is_typed_array);
  if (!is_typed_array ||
      napi_get_typedarray_info(env, value, &actual, count, out, NULL, NULL) != napi_ok || actual != type)
    return throw_error(env, "EINVAL", "a typed array of another type is needed");
  return 0;
}

uint64_t to_u64(double value) {
  if (!(value > 0)) return 0;
  return value >= (double)LARGEST_U64 ? LARGEST_U64 : (uint64_t)value;
}

napi_value make_number(napi_env env, double value) {
  napi_value result = NULL;
  napi_create_double(env, value, &result);
  return result;
}
