/* Between JavaScript values and C. Every function returns 0, or -1 with a JavaScript exception pending. */
#ifndef PBS_ADDON_VALUES_H
#define PBS_ADDON_VALUES_H

#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

/* Throws an Error with a code and a formatted message, and returns -1. */
__attribute__((format(printf, 3, 4))) int throw_error(napi_env env, const char *code, const char *format, ...);

/* Throws what an errno says, with the errno's name or number as the code. */
int throw_errno(napi_env env, int error, const char *what);

/* Exactly `count` arguments. */
int get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *out);

int get_number(napi_env env, napi_value value, double low, double high, double *out);
int get_u32(napi_env env, napi_value value, uint32_t high, uint32_t *out);
int get_field_u32(napi_env env, napi_value object, const char *name, uint32_t high, uint32_t *out);
int get_field_string(napi_env env, napi_value object, const char *name, char *out, size_t size);

/* What an external value with this tag points to; NULL with an Error of code EINVAL that says `otherwise` pending. */
void *get_external(napi_env env, napi_value value, const napi_type_tag *tag, const char *otherwise);

/* The elements of a typed array of that type; `*count` is how many. */
int get_typed_array(napi_env env, napi_value value, napi_typedarray_type type, void **out, size_t *count);

/* Doubles as JavaScript has them to 64-bit integers: fractions cut, negative and NaN to 0, too large to 2^62. */
uint64_t to_u64(double value);

napi_value make_number(napi_env env, double value);

#endif
