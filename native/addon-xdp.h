/* The XDP programs as JavaScript holds them; src/traffic/xdp-native.ts declares the functions. */
#ifndef PBS_ADDON_XDP_H
#define PBS_ADDON_XDP_H

#include <node_api.h>

#include "table.h"

/* Where the table of an engine is to lie that works with the programs `value`. 0 or -1 with an exception pending. */
int get_table_space(napi_env env, napi_value value, struct table_space *out);

napi_value addon_xdp_probe(napi_env env, napi_callback_info info);
napi_value addon_xsk_probe(napi_env env, napi_callback_info info);
napi_value addon_xdp_open(napi_env env, napi_callback_info info);
napi_value addon_xdp_listen(napi_env env, napi_callback_info info);
napi_value addon_xdp_drop_adopted(napi_env env, napi_callback_info info);
napi_value addon_xdp_close(napi_env env, napi_callback_info info);
napi_value addon_xdp_attach(napi_env env, napi_callback_info info);
napi_value addon_xdp_detach(napi_env env, napi_callback_info info);
napi_value addon_xdp_block(napi_env env, napi_callback_info info);
napi_value addon_xdp_block_place(napi_env env, napi_callback_info info);
napi_value addon_xdp_allow_egress(napi_env env, napi_callback_info info);
napi_value addon_xdp_serve(napi_env env, napi_callback_info info);
napi_value addon_xdp_leave(napi_env env, napi_callback_info info);
napi_value addon_link_queueing(napi_env env, napi_callback_info info);
napi_value addon_xdp_features(napi_env env, napi_callback_info info);
napi_value addon_raise_receive_threads(napi_env env, napi_callback_info info);
napi_value addon_xdp_counters(napi_env env, napi_callback_info info);
napi_value addon_xdp_try_segments(napi_env env, napi_callback_info info);
napi_value addon_xdp_try(napi_env env, napi_callback_info info);
napi_value xdp_counter_names(napi_env env);

#endif
