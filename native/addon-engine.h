/* The engine as JavaScript holds it. */
#ifndef PBS_ADDON_ENGINE_H
#define PBS_ADDON_ENGINE_H

#include <node_api.h>

#include "engine.h"

struct handle {
  struct engine *engine; /* NULL once closed */
  napi_threadsafe_function wake;
};

/* The engine of an external value. NULL with an exception pending when it is closed or no engine. */
struct engine *get_engine(napi_env env, napi_value value);

/* The functions that work on the flow table, by their JavaScript names. */
napi_value addon_permit(napi_env env, napi_callback_info info);
napi_value addon_add_to_sets(napi_env env, napi_callback_info info);
napi_value addon_keep_in_sets(napi_env env, napi_callback_info info);
napi_value addon_remove(napi_env env, napi_callback_info info);
napi_value addon_settled(napi_env env, napi_callback_info info);
napi_value addon_refuse(napi_env env, napi_callback_info info);
napi_value addon_read_up_to(napi_env env, napi_callback_info info);
napi_value addon_steer(napi_env env, napi_callback_info info);
napi_value addon_read(napi_env env, napi_callback_info info);
napi_value addon_trace(napi_env env, napi_callback_info info);
napi_value addon_read_places(napi_env env, napi_callback_info info);
napi_value addon_probe(napi_env env, napi_callback_info info);

napi_value addon_peer_credentials(napi_env env, napi_callback_info info);
napi_value addon_watch_routes(napi_env env, napi_callback_info info);
napi_value addon_unwatch_routes(napi_env env, napi_callback_info info);

napi_value addon_ask_route(napi_env env, napi_callback_info info);
napi_value addon_mac_key(napi_env env, napi_callback_info info);
napi_value addon_mac(napi_env env, napi_callback_info info);

napi_value addon_relay_open(napi_env env, napi_callback_info info);
napi_value addon_relay_close(napi_env env, napi_callback_info info);
napi_value addon_relay_status(napi_env env, napi_callback_info info);

#endif
