/* Verifying signatures of signalling messages. */
#ifndef PBS_ADDON_SIGNATURE_H
#define PBS_ADDON_SIGNATURE_H

#include <node_api.h>

napi_value addon_rsa_key(napi_env env, napi_callback_info info);
napi_value addon_verify_rsa(napi_env env, napi_callback_info info);

#endif
