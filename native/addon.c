/* The N-API surface. src/traffic/native.ts declares it for TypeScript. */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "addon-engine.h"
#include "addon-signature.h"
#include "addon-values.h"
#include "addon-xdp.h"
#include "clock.h"
#include "thread.h"

enum { EVENT_VALUES = 2, EVENTS_AT_ONCE = 256, STATUS_VALUES = 3, MAX_ENTRIES = 1 << 28, MAX_HELD = 1 << 20 };

static const napi_type_tag HANDLE_TAG = {0x7062732d67617465ULL, 0x7761792d656e6731ULL};

static void close_handle(struct handle *h) {
  if (!h->engine) return;
  engine_close(h->engine);
  h->engine = NULL;
  napi_release_threadsafe_function(h->wake, napi_tsfn_abort);
}

/* Ends the threads when the process, or the worker, ends without a stop. */
static void clean_up(void *data) { close_handle(data); }

static void finalize(napi_env env, void *data, void *hint) {
  (void)hint;
  napi_remove_env_cleanup_hook(env, clean_up, data);
  close_handle(data);
  free(data);
}

static struct handle *get_handle(napi_env env, napi_value value) {
  return get_external(env, value, &HANDLE_TAG, "this is not an engine");
}

struct engine *get_engine(napi_env env, napi_value value) {
  struct handle *h = get_handle(env, value);
  if (!h) return NULL;
  if (!h->engine) throw_error(env, "ECLOSED", "the engine is closed");
  return h->engine;
}

static void wake(void *context) {
  struct handle *h = context;
  napi_call_threadsafe_function(h->wake, NULL, napi_tsfn_nonblocking);
}

static int get_processor(napi_env env, napi_value queue, int *out) {
  uint32_t processor = 0;
  bool given = false;
  napi_has_named_property(env, queue, "processor", &given);
  if (given && get_field_u32(env, queue, "processor", CPU_SETSIZE - 1, &processor) < 0) return -1;
  *out = given ? (int)processor : ANY_PROCESSOR;
  return 0;
}

static int get_queue(napi_env env, napi_value queue, struct queue_options *o) {
  uint32_t number = 0, purpose = 0;
  if (get_field_u32(env, queue, "number", UINT16_MAX, &number) < 0 ||
      get_field_u32(env, queue, "purpose", PURPOSE_AUTHENTICATED, &purpose) < 0)
    return -1;
  o->number = (uint16_t)number;
  o->purpose = (enum purpose)purpose;
  return get_processor(env, queue, &o->processor);
}

static int get_queues(napi_env env, napi_value options, struct engine_options *o) {
  napi_value array, queue;
  uint32_t holds = 0;
  if (napi_get_named_property(env, options, "queues", &array) != napi_ok ||
      napi_get_array_length(env, array, &o->queues) != napi_ok || o->queues > ENGINE_QUEUES)
    return throw_error(env, "EINVAL", "queues must be an array of at most %d", ENGINE_QUEUES);
  for (uint32_t i = 0; i < o->queues; i++) {
    if (napi_get_element(env, array, i, &queue) != napi_ok || get_queue(env, queue, &o->queue[i]) < 0) return -1;
    holds += o->queue[i].purpose == PURPOSE_HOLD;
  }
  return holds <= 1 ? 0 : throw_error(env, "EINVAL", "there can be one queue for holding");
}

/* With XDP programs the table lies where they look into it. */
static int get_space(napi_env env, napi_value options, struct engine_options *o) {
  napi_value xdp;
  napi_valuetype type = napi_undefined;
  if (napi_get_named_property(env, options, "xdp", &xdp) != napi_ok || napi_typeof(env, xdp, &type) != napi_ok)
    return throw_error(env, "EINVAL", "xdp cannot be read");
  return type == napi_undefined ? 0 : get_table_space(env, xdp, &o->space);
}

static int get_options(napi_env env, napi_value options, struct engine_options *o) {
  uint32_t enforce = 0, hold_milliseconds = 0;
  if (get_field_u32(env, options, "capacity", MAX_ENTRIES, &o->capacity) < 0 ||
      get_field_u32(env, options, "refusals", MAX_ENTRIES, &o->refusals) < 0 ||
      get_field_u32(env, options, "enforce", 1, &enforce) < 0 ||
      get_field_u32(env, options, "refuseMark", UINT32_MAX, &o->refuse_mark) < 0 ||
      get_field_u32(env, options, "openMark", UINT32_MAX, &o->open_mark) < 0 ||
      get_field_u32(env, options, "holdPackets", MAX_HELD, &o->hold_packets) < 0 ||
      get_field_u32(env, options, "holdPacketsPerFlow", MAX_HELD, &o->hold_per_flow) < 0 ||
      get_field_u32(env, options, "holdTime", UINT32_MAX, &hold_milliseconds) < 0 ||
      get_field_string(env, options, "set4", o->sets[SET_PERMITTED][0], SET_NAME_BYTES) < 0 ||
      get_field_string(env, options, "set6", o->sets[SET_PERMITTED][1], SET_NAME_BYTES) < 0 ||
      get_field_string(env, options, "insertSet4", o->sets[SET_INSERT][0], SET_NAME_BYTES) < 0 ||
      get_field_string(env, options, "insertSet6", o->sets[SET_INSERT][1], SET_NAME_BYTES) < 0 ||
      get_field_string(env, options, "knownSet4", o->sets[SET_KNOWN][0], SET_NAME_BYTES) < 0 ||
      get_field_string(env, options, "knownSet6", o->sets[SET_KNOWN][1], SET_NAME_BYTES) < 0)
    return -1;
  if (o->capacity == 0 || o->hold_packets == 0)
    return throw_error(env, "EINVAL", "capacity and holdPackets must be 1 or more");
  o->enforce = (int)enforce;
  o->hold_time = hold_milliseconds * NANOSECONDS_PER_MILLISECOND;
  if (get_space(env, options, o) < 0) return -1;
  return get_queues(env, options, o);
}

static int make_wake(napi_env env, napi_value callback, struct handle *h) {
  napi_value name;
  napi_create_string_utf8(env, "pbs-events", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, callback, NULL, name, 0, 1, NULL, NULL, NULL, NULL, &h->wake) == napi_ok)
    return 0;
  return throw_error(env, "EINVAL", "the second argument must be a function");
}

static int start_engine(napi_env env, const struct engine_options *o, struct handle *h) {
  struct engine_failure failure;
  char what[64];
  h->engine = engine_open(o, wake, h, &failure);
  if (h->engine) return 0;
  int error = errno;
  napi_release_threadsafe_function(h->wake, napi_tsfn_abort);
  if (failure.processor != ANY_PROCESSOR)
    return throw_error(env, "EPROCESSOR", "no thread can keep to processor %d", failure.processor);
  if (failure.queue < 0) return throw_errno(env, error, "the packet engine cannot start");
  snprintf(what, sizeof what, "queue %d cannot be bound", failure.queue);
  return throw_errno(env, error, what);
}

/* An engine without queues waits for nothing, and must not keep the process alive. */
static napi_value publish(napi_env env, struct handle *h) {
  napi_value value = NULL;
  if (h->engine->workers == 0) napi_unref_threadsafe_function(env, h->wake);
  if (napi_create_external(env, h, finalize, NULL, &value) != napi_ok) {
    close_handle(h);
    free(h);
    throw_error(env, "ENOMEM", "out of memory");
    return NULL;
  }
  napi_type_tag_object(env, value, &HANDLE_TAG);
  napi_add_env_cleanup_hook(env, clean_up, h);
  return value;
}

static napi_value addon_open(napi_env env, napi_callback_info info) {
  napi_value a[2];
  struct engine_options options = {0};
  if (get_arguments(env, info, 2, a) < 0 || get_options(env, a[0], &options) < 0) return NULL;
  struct handle *h = calloc(1, sizeof *h);
  if (!h) {
    throw_error(env, "ENOMEM", "out of memory");
    return NULL;
  }
  if (make_wake(env, a[1], h) == 0 && start_engine(env, &options, h) == 0) return publish(env, h);
  free(h);
  return NULL;
}

static napi_value addon_close(napi_env env, napi_callback_info info) {
  napi_value a[1];
  if (get_arguments(env, info, 1, a) < 0) return NULL;
  struct handle *h = get_handle(env, a[0]);
  if (h) close_handle(h);
  return NULL;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static napi_value addon_take_events(napi_env env, napi_callback_info info) {
  napi_value a[3];
  void *keys = NULL, *values = NULL;
  size_t key_bytes = 0, numbers = 0;
  struct event events[EVENTS_AT_ONCE];
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_typed_array(env, a[1], napi_uint8_array, &keys, &key_bytes) < 0 ||
      get_typed_array(env, a[2], napi_float64_array, &values, &numbers) < 0)
    return NULL;
  size_t room = smaller(EVENTS_AT_ONCE, smaller(key_bytes / FLOW_KEY_BYTES, numbers / EVENT_VALUES));
  uint32_t count = events_take(&e->events, events, (uint32_t)room);
  for (uint32_t i = 0; i < count; i++) {
    memcpy((uint8_t *)keys + (size_t)i * FLOW_KEY_BYTES, &events[i].key, FLOW_KEY_BYTES);
    ((double *)values)[i * EVENT_VALUES] = events[i].type;
    ((double *)values)[i * EVENT_VALUES + 1] = (double)events[i].value;
  }
  return make_number(env, count);
}

static uint32_t held_now(struct engine *e) {
  pthread_mutex_lock(&e->hold_lock);
  uint32_t held = e->hold.count;
  pthread_mutex_unlock(&e->hold_lock);
  return held;
}

/* Flows, packets held, memory of an entry, the counters in the order of their names, then packets of each queue. */
static napi_value addon_status(napi_env env, napi_callback_info info) {
  napi_value a[2];
  void *data = NULL;
  size_t count = 0;
  if (get_arguments(env, info, 2, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_typed_array(env, a[1], napi_float64_array, &data, &count) < 0) return NULL;
  if (count < STATUS_VALUES + COUNTER_COUNT + e->workers) {
    throw_error(env, "EINVAL", "the array is too short");
    return NULL;
  }
  double *out = data;
  *out++ = table_permitted(e->table);
  *out++ = held_now(e);
  *out++ = (double)table_bytes(e->table);
  for (int i = 0; i < COUNTER_COUNT; i++) *out++ = (double)engine_counter(e, (enum counter)i);
  for (uint32_t i = 0; i < e->workers; i++)
    *out++ = (double)atomic_load_explicit(&e->worker[i]->counters.packets, memory_order_relaxed);
  return NULL;
}

static napi_value counter_names(napi_env env) {
  static const char *const names[] = {
#define COUNTER_NAME(name, text) text,
      COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
  };
  napi_value array, name;
  napi_create_array_with_length(env, COUNTER_COUNT, &array);
  for (uint32_t i = 0; i < COUNTER_COUNT; i++) {
    napi_create_string_utf8(env, names[i], NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, array, i, name);
  }
  return array;
}

#define METHOD(name, function) {name, NULL, function, NULL, NULL, NULL, napi_enumerable, NULL}

NAPI_MODULE_INIT() {
  napi_property_descriptor properties[] = {
      METHOD("open", addon_open),
      METHOD("close", addon_close),
      METHOD("permit", addon_permit),
      METHOD("addToSets", addon_add_to_sets),
      METHOD("keepInSets", addon_keep_in_sets),
      METHOD("remove", addon_remove),
      METHOD("settled", addon_settled),
      METHOD("refuse", addon_refuse),
      METHOD("steer", addon_steer),
      METHOD("read", addon_read),
      METHOD("trace", addon_trace),
      METHOD("readPlaces", addon_read_places),
      METHOD("readUpTo", addon_read_up_to),
      METHOD("probe", addon_probe),
      METHOD("takeEvents", addon_take_events),
      METHOD("status", addon_status),
      METHOD("peerCredentials", addon_peer_credentials),
      METHOD("watchRoutes", addon_watch_routes),
      METHOD("unwatchRoutes", addon_unwatch_routes),
      METHOD("askRoute", addon_ask_route),
      METHOD("macKey", addon_mac_key),
      METHOD("mac", addon_mac),
      METHOD("relayOpen", addon_relay_open),
      METHOD("relayClose", addon_relay_close),
      METHOD("relayStatus", addon_relay_status),
      METHOD("xdpProbe", addon_xdp_probe),
      METHOD("xskProbe", addon_xsk_probe),
      METHOD("rsaKey", addon_rsa_key),
      METHOD("verifyRsa", addon_verify_rsa),
      METHOD("xdpOpen", addon_xdp_open),
      METHOD("xdpListen", addon_xdp_listen),
      METHOD("xdpDropAdopted", addon_xdp_drop_adopted),
      METHOD("xdpClose", addon_xdp_close),
      METHOD("xdpAttach", addon_xdp_attach),
      METHOD("xdpDetach", addon_xdp_detach),
      METHOD("xdpBlock", addon_xdp_block),
      METHOD("xdpBlockPlace", addon_xdp_block_place),
      METHOD("xdpAllowEgress", addon_xdp_allow_egress),
      METHOD("xdpServe", addon_xdp_serve),
      METHOD("xdpLeave", addon_xdp_leave),
      METHOD("linkQueueing", addon_link_queueing),
      METHOD("xdpFeatures", addon_xdp_features),
      METHOD("raiseReceiveThreads", addon_raise_receive_threads),
      METHOD("xdpCounters", addon_xdp_counters),
      METHOD("xdpTry", addon_xdp_try),
      METHOD("xdpTrySegments", addon_xdp_try_segments),
      {"xdpCounterNames", NULL, NULL, NULL, NULL, xdp_counter_names(env), napi_enumerable, NULL},
      {"counterNames", NULL, NULL, NULL, NULL, counter_names(env), napi_enumerable, NULL},
  };
  napi_define_properties(env, exports, sizeof properties / sizeof *properties, properties);
  return exports;
}
