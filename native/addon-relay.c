/* Relays for JavaScript. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "addon-engine.h"
#include "addon-values.h"
#include "relay.h"

enum { VALUES = RELAY_COUNTERS + 1 };

static const napi_type_tag RELAY_TAG = {0x7062732d67617465ULL, 0x7761792d72656c79ULL};

struct holder {
  struct relay *relay; /* NULL once closed */
};

static void close_holder(struct holder *h) {
  if (h->relay) relay_close(h->relay);
  h->relay = NULL;
}

static void clean_up(void *data) { close_holder(data); }

static void finalize(napi_env env, void *data, void *hint) {
  (void)hint;
  napi_remove_env_cleanup_hook(env, clean_up, data);
  close_holder(data);
  free(data);
}

static struct holder *get_holder(napi_env env, napi_value value) {
  return get_external(env, value, &RELAY_TAG, "this is no relay");
}

/* No bytes: packets come from anybody. */
static int set_address(napi_env env, const uint8_t *bytes, size_t length, struct relay_options *o) {
  struct sockaddr_in *to4 = (struct sockaddr_in *)&o->to;
  struct sockaddr_in6 *to6 = (struct sockaddr_in6 *)&o->to;
  if (length == 0) return 0;
  if (length == sizeof to4->sin_addr) {
    *to4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(o->port)};
    memcpy(&to4->sin_addr, bytes, length);
    return 0;
  }
  if (length != sizeof to6->sin6_addr) return throw_error(env, "EINVAL", "an address has 4 or 16 bytes");
  *to6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(o->port)};
  memcpy(&to6->sin6_addr, bytes, length);
  return 0;
}

/* relayOpen({device, port}, to): `to` has the bytes of the relay's address, or none to be one. */
napi_value addon_relay_open(napi_env env, napi_callback_info info) {
  napi_value a[2], value = NULL;
  struct relay_options o = {0};
  uint32_t port = 0;
  void *to = NULL;
  size_t length = 0;
  if (get_arguments(env, info, 2, a) < 0 || get_field_string(env, a[0], "device", o.device, sizeof o.device) < 0 ||
      get_field_u32(env, a[0], "port", UINT16_MAX, &port) < 0 ||
      get_typed_array(env, a[1], napi_uint8_array, &to, &length) < 0)
    return NULL;
  o.port = (uint16_t)port;
  if (set_address(env, to, length, &o) < 0) return NULL;
  struct holder *h = calloc(1, sizeof *h);
  if (h) h->relay = relay_open(&o);
  if (!h || !h->relay) {
    throw_errno(env, errno, "the relay's device or socket cannot be had");
    free(h);
    return NULL;
  }
  napi_create_external(env, h, finalize, NULL, &value);
  napi_type_tag_object(env, value, &RELAY_TAG);
  napi_add_env_cleanup_hook(env, clean_up, h);
  return value;
}

/* relayClose(relay). Twice does nothing. */
napi_value addon_relay_close(napi_env env, napi_callback_info info) {
  napi_value a[1];
  if (get_arguments(env, info, 1, a) < 0) return NULL;
  struct holder *h = get_holder(env, a[0]);
  if (h) close_holder(h);
  return NULL;
}

/* relayStatus(relay, out): packets, malformed, not sent, MTU of the device. */
napi_value addon_relay_status(napi_env env, napi_callback_info info) {
  napi_value a[2];
  void *data = NULL;
  size_t count = 0;
  if (get_arguments(env, info, 2, a) < 0 || get_typed_array(env, a[1], napi_float64_array, &data, &count) < 0)
    return NULL;
  struct holder *h = get_holder(env, a[0]);
  if (!h) return NULL;
  if (!h->relay || count < VALUES) {
    throw_error(env, "EINVAL", h->relay ? "the array is too short" : "the relay is closed");
    return NULL;
  }
  double *out = data;
  for (int i = 0; i < RELAY_COUNTERS; i++) out[i] = (double)relay_count(h->relay, (enum relay_counter)i);
  out[RELAY_COUNTERS] = relay_mtu(h->relay);
  return NULL;
}
