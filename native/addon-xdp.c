#include "addon-xdp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon-engine.h"
#include "addon-values.h"
#include "clock.h"
#include "link-queueing.h"
#include "xdp-events.h"
#include "xdp-forward.h"
#include "xdp.h"

enum { MAX_ENTRIES = 1 << 28, PATH_BYTES = 4096, MAX_FRAME = 1 << 16, BOUND_VALUES = 4 };

static const napi_type_tag XDP_TAG = {0x7062732d78647000ULL, 0x686f6c6465723031ULL};

/* What JavaScript holds. */
struct holder {
  struct xdp *xdp; /* NULL once closed */
  struct xdp_listener *listener;
  struct forwarder *forwarder;
};

/* Hooks run in the opposite order of their coming, so the engine, which came before this one, still has its events. */
static void clean_up(void *data) {
  struct holder *h = data;
  if (h->listener) xdp_listener_stop(h->listener);
  if (h->forwarder) forwarder_stop(h->forwarder);
  h->listener = NULL;
  h->forwarder = NULL;
}

/* An engine may outlive this value, and its table lies here: the memory stays until it is closed or the process ends. */
static void finalize(napi_env env, void *data, void *hint) {
  struct holder *h = data;
  (void)env;
  (void)hint;
  if (!h->xdp) free(h);
}

static struct holder *get_holder(napi_env env, napi_value value) {
  return get_external(env, value, &XDP_TAG, "these are not the XDP programs");
}

static struct holder *get_open_holder(napi_env env, napi_value value) {
  struct holder *h = get_holder(env, value);
  if (!h || h->xdp) return h;
  throw_error(env, "ECLOSED", "the XDP programs are closed");
  return NULL;
}

int get_table_space(napi_env env, napi_value value, struct table_space *out) {
  struct holder *h = get_open_holder(env, value);
  if (!h) return -1;
  *out = xdp_space(h->xdp);
  return 0;
}

static int get_exempts(napi_env env, napi_value options, struct xdp_options *o) {
  napi_value value;
  void *bytes = NULL;
  size_t count = 0;
  if (napi_get_named_property(env, options, "exempts", &value) != napi_ok ||
      get_typed_array(env, value, napi_uint8_array, &bytes, &count) < 0)
    return -1;
  if (count % sizeof *o->exempt != 0 || count > sizeof o->exempt)
    return throw_error(env, "EINVAL", "there can be %d exempt patterns of %zu bytes", XDP_EXEMPTS, sizeof *o->exempt);
  if (count > 0) memcpy(o->exempt, bytes, count);
  o->exempts = (uint32_t)(count / sizeof *o->exempt);
  return 0;
}

/* A rate a second, 0 for none, and how many milliseconds' worth may come at once. */
static struct xdp_rate read_rate(const double *values) {
  static const double NANOSECONDS = 1e9, LONGEST = 1e15;
  double interval = values[0] > 0 ? NANOSECONDS * (1 << XDP_INTERVAL_SHIFT) / values[0] : 0;
  double tolerance = values[1] > 0 ? values[1] * 1e6 : 0;
  return (struct xdp_rate){.interval = (uint64_t)(interval < LONGEST ? interval : LONGEST),
                           .tolerance = (uint64_t)(tolerance < LONGEST ? tolerance : LONGEST)};
}

static int get_bounds(napi_env env, napi_value options, struct xdp_options *o) {
  napi_value value;
  double *values = NULL;
  size_t count = 0;
  if (napi_get_named_property(env, options, "bounds", &value) != napi_ok ||
      get_typed_array(env, value, napi_float64_array, (void **)&values, &count) < 0)
    return -1;
  if (count != XDP_CLASSES * BOUND_VALUES)
    return throw_error(env, "EINVAL", "there are %d bounds of %d numbers", XDP_CLASSES, BOUND_VALUES);
  for (size_t i = 0; i < XDP_CLASSES; i++)
    o->bounds[i] = (struct xdp_bounds){.total = read_rate(&values[i * BOUND_VALUES]),
                                       .source = read_rate(&values[i * BOUND_VALUES + 2])};
  return 0;
}

/* xdpProbe(object): throws when the kernel does not take the programs. */
napi_value addon_xdp_probe(napi_env env, napi_callback_info info) {
  napi_value a[1];
  char path[PATH_BYTES];
  size_t length = 0;
  if (get_arguments(env, info, 1, a) < 0) return NULL;
  if (napi_get_value_string_utf8(env, a[0], path, sizeof path, &length) != napi_ok || length == sizeof path - 1)
    throw_error(env, "EINVAL", "this is not the name of a file");
  else if (xdp_probe(path) < 0) throw_errno(env, errno, "the kernel does not take the XDP programs");
  return NULL;
}

/* Throws when there can be no AF_XDP sockets. */
napi_value addon_xsk_probe(napi_env env, napi_callback_info info) {
  (void)info;
  int s = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (s < 0) throw_errno(env, errno, "there can be no AF_XDP sockets");
  else close(s);
  return NULL;
}

napi_value addon_xdp_open(napi_env env, napi_callback_info info) {
  napi_value a[1], value = NULL;
  static char path[PATH_BYTES];
  uint32_t enforce = 0, open = 0;
  struct xdp_options o = {.object = path};
  if (get_arguments(env, info, 1, a) < 0 || get_field_string(env, a[0], "object", path, sizeof path) < 0 ||
      get_field_u32(env, a[0], "capacity", MAX_ENTRIES, &o.capacity) < 0 ||
      get_field_u32(env, a[0], "refusals", MAX_ENTRIES, &o.refusals) < 0 ||
      get_field_u32(env, a[0], "enforce", 1, &enforce) < 0 || get_field_u32(env, a[0], "open", 1, &open) < 0 ||
      get_exempts(env, a[0], &o) < 0 ||
      get_bounds(env, a[0], &o) < 0)
    return NULL;
  o.enforce = (int)enforce;
  o.open = (int)open;
  struct holder *h = calloc(1, sizeof *h);
  if (h) h->xdp = xdp_open(&o);
  if (!h || !h->xdp) {
    throw_errno(env, errno, "the XDP programs' tables cannot be made");
    free(h);
    return NULL;
  }
  napi_create_external(env, h, finalize, NULL, &value);
  napi_type_tag_object(env, value, &XDP_TAG);
  return value;
}

napi_value addon_xdp_listen(napi_env env, napi_callback_info info) {
  napi_value a[2], adopted = NULL;
  if (get_arguments(env, info, 2, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  struct engine *e = h ? get_engine(env, a[1]) : NULL;
  if (!e) return NULL;
  if (!h->listener) {
    h->listener = xdp_listen(h->xdp->map[XDP_EVENTS], &e->events);
    if (!h->listener) throw_errno(env, errno, "events of the XDP programs cannot be read");
    else napi_add_env_cleanup_hook(env, clean_up, h);
  }
  napi_get_boolean(env, h->xdp->adopted, &adopted);
  return adopted;
}

/* Returns how many permissions of an earlier process are left in the range, and how many entries there are. */
napi_value addon_xdp_drop_adopted(napi_env env, napi_callback_info info) {
  napi_value a[4];
  uint32_t start = 0, end = 0;
  void *out = NULL;
  size_t count = 0;
  if (get_arguments(env, info, 4, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_u32(env, a[1], UINT32_MAX, &start) < 0 || get_u32(env, a[2], UINT32_MAX, &end) < 0 ||
      get_typed_array(env, a[3], napi_float64_array, &out, &count) < 0)
    return NULL;
  if (count < 2) {
    throw_error(env, "EINVAL", "the array is too short");
    return NULL;
  }
  ((double *)out)[0] = table_drop_adopted(e->table, start, end, clock_now());
  ((double *)out)[1] = table_used(e->table);
  return NULL;
}

/* To be called in two steps: the listener before the engine ends, the rest after. */
napi_value addon_xdp_close(napi_env env, napi_callback_info info) {
  napi_value a[2];
  uint32_t all = 0;
  if (get_arguments(env, info, 2, a) < 0) return NULL;
  struct holder *h = get_holder(env, a[0]);
  if (!h || get_u32(env, a[1], 1, &all) < 0) return NULL;
  if (h->listener) napi_remove_env_cleanup_hook(env, clean_up, h);
  clean_up(h);
  if (all && h->xdp) {
    xdp_close(h->xdp);
    h->xdp = NULL;
  }
  return NULL;
}

napi_value addon_xdp_attach(napi_env env, napi_callback_info info) {
  napi_value a[4];
  uint32_t interface = 0, generic = 0, check_source = 0;
  if (get_arguments(env, info, 4, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  if (!h || get_u32(env, a[1], INT32_MAX, &interface) < 0 || get_u32(env, a[2], 1, &generic) < 0 ||
      get_u32(env, a[3], 2, &check_source) < 0)
    return NULL;
  int segments = xdp_attach(h->xdp, interface, generic ? XDP_GENERIC : XDP_NATIVE, (int)check_source);
  napi_value takes_segments = NULL;
  if (segments < 0) throw_errno(env, errno, "the XDP program cannot be attached");
  else napi_get_boolean(env, segments, &takes_segments);
  return takes_segments;
}

napi_value addon_xdp_detach(napi_env env, napi_callback_info info) {
  napi_value a[1], was_there = NULL;
  uint32_t interface = 0;
  if (get_arguments(env, info, 1, a) < 0 || get_u32(env, a[0], INT32_MAX, &interface) < 0) return NULL;
  int result = xdp_detach(interface);
  if (result < 0) throw_errno(env, errno, "the XDP program cannot be detached");
  else napi_get_boolean(env, result, &was_there);
  return was_there;
}

static uint64_t until_of(double milliseconds) {
  static const double LONGEST = 1e12;
  return milliseconds > 0 ? clock_now() + (uint64_t)((milliseconds < LONGEST ? milliseconds : LONGEST) * 1e6) : 0;
}

/* xdpBlock(programs, key, milliseconds): the source of the flow's key; 0: no longer. */
napi_value addon_xdp_block(napi_env env, napi_callback_info info) {
  napi_value a[3];
  void *bytes = NULL;
  size_t count = 0;
  double duration = 0;
  struct flow_key key;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  if (!h || get_typed_array(env, a[1], napi_uint8_array, &bytes, &count) < 0 ||
      napi_get_value_double(env, a[2], &duration) != napi_ok)
    return NULL;
  if (count != sizeof key || duration < 0) {
    throw_error(env, "EINVAL", "this is not a flow and a time");
    return NULL;
  }
  memcpy(&key, bytes, sizeof key);
  struct xdp_source source = {.family = key.family};
  memcpy(source.address, key.source, sizeof source.address);
  if (xdp_block(h->xdp, &source, until_of(duration)) < 0)
    throw_errno(env, errno, "the source cannot be blocked");
  return NULL;
}

/* xdpBlockPlace(programs, key, interface, address, milliseconds): the flow's packets there; of 6 bytes, zeros: whatever it is. 0: no longer. */
napi_value addon_xdp_block_place(napi_env env, napi_callback_info info) {
  napi_value a[5];
  void *key = NULL, *address = NULL;
  size_t key_bytes = 0, address_bytes = 0;
  uint32_t interface = 0;
  double duration = 0;
  if (get_arguments(env, info, 5, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  if (!h || get_typed_array(env, a[1], napi_uint8_array, &key, &key_bytes) < 0 ||
      get_u32(env, a[2], INT32_MAX, &interface) < 0 ||
      get_typed_array(env, a[3], napi_uint8_array, &address, &address_bytes) < 0 ||
      napi_get_value_double(env, a[4], &duration) != napi_ok)
    return NULL;
  if (key_bytes != sizeof(struct flow_key) || address_bytes != 6 || duration < 0) {
    throw_error(env, "EINVAL", "this is not a flow, an address and a time");
    return NULL;
  }
  struct xdp_off_path place = {.place = place_of(interface, address)};
  memcpy(&place.flow, key, sizeof place.flow);
  if (xdp_block_place(h->xdp, &place, until_of(duration)) < 0) throw_errno(env, errno, "the place cannot be blocked");
  return NULL;
}

napi_value addon_xdp_allow_egress(napi_env env, napi_callback_info info) {
  napi_value a[3];
  uint32_t interface = 0, egress = EGRESS_STACK;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  if (!h || get_u32(env, a[1], INT32_MAX, &interface) < 0 || get_u32(env, a[2], EGRESS_NATIVE, &egress) < 0) return NULL;
  if (xdp_allow_egress(h->xdp, interface, (enum xdp_egress)egress) < 0)
    throw_errno(env, errno, "the interface cannot be used by XDP programs");
  return NULL;
}

static int add_to_forwarder(struct holder *h, struct engine *e, uint32_t interface) {
  if (!h->forwarder) h->forwarder = forwarder_start(e);
  int map = h->forwarder ? xdp_queues(interface) : -1;
  if (map < 0) return -1;
  int queues = forwarder_add(h->forwarder, interface, map), error = errno;
  close(map);
  errno = error;
  return queues;
}

/* How many of the interface's queues are served, or -1 with errno. Nothing is handed over for an interface that none is. */
static int serve(struct holder *h, struct engine *e, uint32_t interface) {
  int queues = add_to_forwarder(h, e, interface);
  if (queues > 0 && xdp_serve(h->xdp, interface, 1) == 0) return queues;
  int error = errno;
  xdp_serve(h->xdp, interface, 0);
  if (h->forwarder) forwarder_remove(h->forwarder, interface);
  errno = error;
  return -1;
}

static const char *why_not_served(int error) {
  switch (error) {
    case ENOSPC:
      return "other interfaces have all receive queues that can be served";
    case ENOBUFS:
      return "more memory would have to be locked than RLIMIT_MEMLOCK allows";
    case EPERM:
      return "AF_XDP needs root, or CAP_SYS_ADMIN and CAP_NET_RAW";
    case EBUSY:
      return "another process has its receive queue";
    default:
      return "packets with AH cannot be taken from the interface";
  }
}

/* xdpServe(programs, engine, interface): how many queues are served, once xdpListen has been called. */
napi_value addon_xdp_serve(napi_env env, napi_callback_info info) {
  napi_value a[3];
  uint32_t interface = 0;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  struct engine *e = h ? get_engine(env, a[1]) : NULL;
  if (!e || get_u32(env, a[2], INT32_MAX, &interface) < 0) return NULL;
  if (!h->listener) {
    throw_error(env, "EINVAL", "the programs' events are not listened to");
    return NULL;
  }
  int queues = serve(h, e, interface);
  if (queues > 0) return make_number(env, queues);
  throw_errno(env, errno, why_not_served(errno));
  return NULL;
}

/* xdpLeave(programs, interface): no longer. */
napi_value addon_xdp_leave(napi_env env, napi_callback_info info) {
  napi_value a[2];
  uint32_t interface = 0;
  if (get_arguments(env, info, 2, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  if (!h || get_u32(env, a[1], INT32_MAX, &interface) < 0 || !h->forwarder) return NULL;
  if (xdp_serve(h->xdp, interface, 0) < 0) throw_errno(env, errno, "the interface cannot be given up");
  forwarder_remove(h->forwarder, interface);
  return NULL;
}

napi_value addon_xdp_features(napi_env env, napi_callback_info info) {
  napi_value a[1];
  uint32_t interface = 0;
  uint64_t features = 0;
  if (get_arguments(env, info, 1, a) < 0 || get_u32(env, a[0], INT32_MAX, &interface) < 0) return NULL;
  return make_number(env, xdp_features(interface, &features) < 0 ? -1 : (double)features);
}

/* raiseReceiveThreads(interface, priority): how many have it now. */
napi_value addon_raise_receive_threads(napi_env env, napi_callback_info info) {
  napi_value a[2];
  uint32_t interface = 0, priority = 0;
  if (get_arguments(env, info, 2, a) < 0 || get_u32(env, a[0], INT32_MAX, &interface) < 0 ||
      get_u32(env, a[1], 99, &priority) < 0)
    return NULL;
  int raised = receive_threads_raise(interface, (int)priority);
  if (raised >= 0) return make_number(env, raised);
  throw_errno(env, errno, "the receive threads cannot be given their priority");
  return NULL;
}

/* linkQueueing(interface): the kind, or an empty string when the kernel does not say. */
napi_value addon_link_queueing(napi_env env, napi_callback_info info) {
  napi_value a[1], kind = NULL;
  char text[QUEUEING_ROOM];
  uint32_t interface = 0;
  if (get_arguments(env, info, 1, a) < 0 || get_u32(env, a[0], INT32_MAX, &interface) < 0) return NULL;
  if (link_queueing(interface, text, sizeof text) < 0) text[0] = 0;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &kind);
  return kind;
}

napi_value addon_xdp_counters(napi_env env, napi_callback_info info) {
  napi_value a[2];
  void *out = NULL;
  size_t count = 0;
  if (get_arguments(env, info, 2, a) < 0) return NULL;
  struct holder *h = get_open_holder(env, a[0]);
  if (!h || get_typed_array(env, a[1], napi_float64_array, &out, &count) < 0) return NULL;
  if (count < XDP_COUNTER_COUNT + 1) {
    throw_error(env, "EINVAL", "the array is too short");
    return NULL;
  }
  for (int i = 0; i < XDP_COUNTER_COUNT; i++) ((double *)out)[i] = (double)xdp_counter(h->xdp, (enum xdp_counter)i);
  ((double *)out)[XDP_COUNTER_COUNT] = h->forwarder ? (double)forwarder_lost(h->forwarder) : 0;
  return NULL;
}

napi_value addon_xdp_try(napi_env env, napi_callback_info info) {
  napi_value a[4];
  uint32_t interface = 0;
  void *frame = NULL, *out = NULL, *length = NULL;
  size_t bytes = 0, room = 0, lengths = 0;
  if (get_arguments(env, info, 4, a) < 0 || get_u32(env, a[0], INT32_MAX, &interface) < 0 ||
      get_typed_array(env, a[1], napi_uint8_array, &frame, &bytes) < 0 ||
      get_typed_array(env, a[2], napi_uint8_array, &out, &room) < 0 ||
      get_typed_array(env, a[3], napi_float64_array, &length, &lengths) < 0)
    return NULL;
  if (bytes > MAX_FRAME || lengths < 1) {
    throw_error(env, "EINVAL", "a frame of at most %d bytes, and a place for a length, are needed", MAX_FRAME);
    return NULL;
  }
  int action = xdp_try(interface, frame, bytes, out, &room);
  if (action < 0) throw_errno(env, errno, "the XDP program cannot be tried");
  *(double *)length = (double)room;
  return make_number(env, action);
}

/* xdpTrySegments(interface, frame, segment) */
napi_value addon_xdp_try_segments(napi_env env, napi_callback_info info) {
  napi_value a[3];
  uint32_t interface = 0, segment = 0;
  void *frame = NULL;
  size_t bytes = 0;
  if (get_arguments(env, info, 3, a) < 0 || get_u32(env, a[0], INT32_MAX, &interface) < 0 ||
      get_typed_array(env, a[1], napi_uint8_array, &frame, &bytes) < 0 ||
      get_u32(env, a[2], UINT16_MAX, &segment) < 0)
    return NULL;
  int action = xdp_try_segments(interface, frame, bytes, segment);
  if (action >= 0) return make_number(env, action);
  throw_errno(env, errno, "the program for super-packets cannot be tried");
  return NULL;
}

napi_value xdp_counter_names(napi_env env) {
  static const char *const names[] = {
#define XDP_COUNTER_NAME(name, text) text,
      XDP_COUNTERS(XDP_COUNTER_NAME)
#undef XDP_COUNTER_NAME
      "drop.receive-full", /* by AF_XDP: the kernel counts it */
  };
  napi_value array, name;
  napi_create_array_with_length(env, XDP_COUNTER_COUNT + 1, &array);
  for (uint32_t i = 0; i < XDP_COUNTER_COUNT + 1; i++) {
    napi_create_string_utf8(env, names[i], NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, array, i, name);
  }
  return array;
}
