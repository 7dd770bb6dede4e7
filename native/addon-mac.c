/* HMAC-SHA-256 for JavaScript, with what a key takes to set up done once. */
#include <stdlib.h>

#include "addon-engine.h"
#include "addon-values.h"
#include "mac.h"

static const napi_type_tag KEY_TAG = {0x7062732d67617465ULL, 0x7761792d6d616331ULL};

struct prepared {
  struct mac_key *key;
  struct mac_scratch *scratch;
};

static void finalize(napi_env env, void *data, void *hint) {
  struct prepared *prepared = data;
  (void)env;
  (void)hint;
  if (prepared->key) mac_key_destroy(prepared->key);
  if (prepared->scratch) mac_scratch_destroy(prepared->scratch);
  free(prepared);
}

/* macKey(secret): of 32 bytes. */
napi_value addon_mac_key(napi_env env, napi_callback_info info) {
  napi_value a[1], value = NULL;
  void *secret = NULL;
  size_t length = 0;
  if (get_arguments(env, info, 1, a) < 0 || get_typed_array(env, a[0], napi_uint8_array, &secret, &length) < 0)
    return NULL;
  struct prepared *prepared = calloc(1, sizeof *prepared);
  if (prepared) {
    prepared->key = mac_key_create(MAC_HMAC_SHA256_128, secret, length);
    prepared->scratch = mac_scratch_create();
  }
  if (prepared && prepared->key && prepared->scratch &&
      napi_create_external(env, prepared, finalize, NULL, &value) == napi_ok) {
    napi_type_tag_object(env, value, &KEY_TAG);
    return value;
  }
  if (prepared) finalize(env, prepared, NULL);
  throw_error(env, "EINVAL", "this is no key of 32 bytes, or out of memory");
  return NULL;
}

static struct prepared *get_key(napi_env env, napi_value value) {
  return get_external(env, value, &KEY_TAG, "this is no key");
}

/* mac(key, message, out): the first 16 bytes go to `out`. */
napi_value addon_mac(napi_env env, napi_callback_info info) {
  napi_value a[3];
  void *message = NULL, *out = NULL;
  size_t length = 0, room = 0;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct prepared *prepared = get_key(env, a[0]);
  if (!prepared || get_typed_array(env, a[1], napi_uint8_array, &message, &length) < 0 ||
      get_typed_array(env, a[2], napi_uint8_array, &out, &room) < 0)
    return NULL;
  struct piece piece = {message, length};
  if (room < mac_length(MAC_HMAC_SHA256_128)) throw_error(env, "EINVAL", "there is too little room for a MAC");
  else if (mac_compute(prepared->scratch, prepared->key, &piece, 1, out) < 0)
    throw_error(env, "EIO", "a MAC cannot be made");
  return NULL;
}
