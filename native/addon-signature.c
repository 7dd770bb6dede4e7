/* Verifying RSA-2048 signatures on the caller's thread, with what each takes to set up done once for each key. */
#include "addon-signature.h"

#include <stdlib.h>

#include "addon-values.h"
#include "signature.h"

static const napi_type_tag KEY_TAG = {0x7062732d67617465ULL, 0x7761792d6b657931ULL};

static void finalize(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  signature_key_destroy(data);
}

/* (SubjectPublicKeyInfo in DER): a key for verifyRsa. */
napi_value addon_rsa_key(napi_env env, napi_callback_info info) {
  napi_value a[1], value = NULL;
  void *der = NULL;
  size_t length = 0;
  if (get_arguments(env, info, 1, a) < 0 || get_typed_array(env, a[0], napi_uint8_array, &der, &length) < 0) return NULL;
  struct signature_key *key = signature_key_create(SIGNATURE_RSA_2048, der, length, 0);
  if (!key) {
    throw_error(env, "EINVAL", "this is no RSA-2048 key");
    return NULL;
  }
  if (napi_create_external(env, key, finalize, NULL, &value) != napi_ok) {
    signature_key_destroy(key);
    throw_error(env, "ENOMEM", "out of memory");
    return NULL;
  }
  napi_type_tag_object(env, value, &KEY_TAG);
  return value;
}

static struct signature_key *get_key(napi_env env, napi_value value) {
  return get_external(env, value, &KEY_TAG, "this is not a key");
}

/* (key, message, signature): whether the signature is the key's. */
napi_value addon_verify_rsa(napi_env env, napi_callback_info info) {
  napi_value a[3], result = NULL;
  void *message = NULL, *signature = NULL;
  size_t length = 0, signed_length = 0;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct signature_key *key = get_key(env, a[0]);
  if (!key || get_typed_array(env, a[1], napi_uint8_array, &message, &length) < 0 ||
      get_typed_array(env, a[2], napi_uint8_array, &signature, &signed_length) < 0)
    return NULL;
  const struct piece piece = {message, length};
  /* Only Ed25519 needs memory to work in. */
  bool good = signed_length == signature_length(SIGNATURE_RSA_2048) && signature_verify(NULL, key, &piece, 1, signature);
  napi_get_boolean(env, good, &result);
  return result;
}
