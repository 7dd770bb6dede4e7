#include <errno.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <stdlib.h>

#include "addon-engine.h"
#include "addon-values.h"
#include "clock.h"

/* Doubles a flow in the arrays that JavaScript passes; src/traffic/native.ts says which is which. */
enum { PERMIT_VALUES = 6, READ_VALUES = 10 + FAILURE_COUNT, PLACES_VALUES = 4 * PLACES_OF_FLOW + 1 };

struct keys {
  const struct flow_key *key;
  size_t count;
};

static int get_keys(napi_env env, napi_value value, struct keys *out) {
  void *bytes = NULL;
  size_t length = 0;
  if (get_typed_array(env, value, napi_uint8_array, &bytes, &length) < 0) return -1;
  if (length % FLOW_KEY_BYTES != 0 || (uintptr_t)bytes % _Alignof(struct flow_key) != 0)
    return throw_error(env, "EINVAL", "keys have %d bytes each", FLOW_KEY_BYTES);
  *out = (struct keys){.key = bytes, .count = length / FLOW_KEY_BYTES};
  return 0;
}

static int get_doubles(napi_env env, napi_value value, size_t count, double **out) {
  void *data = NULL;
  size_t length = 0;
  if (get_typed_array(env, value, napi_float64_array, &data, &length) < 0) return -1;
  if (length < count) return throw_error(env, "EINVAL", "%zu numbers are needed, not %zu", count, length);
  *out = data;
  return 0;
}

enum { AHEAD = 12 };

/* Hashes of the next flows of a batch. */
struct ahead {
  uint64_t hash[AHEAD];
};

static void hash_one(const struct engine *e, const struct keys *keys, size_t i, struct ahead *ahead) {
  if (i >= keys->count) return;
  ahead->hash[i % AHEAD] = table_hash(e->table, &keys->key[i]);
  table_prefetch_index(e->table, ahead->hash[i % AHEAD]);
}

static void start_ahead(const struct engine *e, const struct keys *keys, struct ahead *ahead) {
  for (size_t i = 0; i < AHEAD; i++) hash_one(e, keys, i, ahead);
}

/*
 * The hash of flow i. The index of a flow further on, and the entry of one half as far, come into the cache while this
 * one is changed.
 */
static uint64_t fetch_ahead(const struct engine *e, const struct keys *keys, size_t i, struct ahead *ahead) {
  uint64_t hash = ahead->hash[i % AHEAD];
  hash_one(e, keys, i + AHEAD, ahead);
  if (i + AHEAD / 2 < keys->count) table_prefetch_entry(e->table, ahead->hash[(i + AHEAD / 2) % AHEAD]);
  return hash;
}

/* More than this give way for no single call. */
enum { EVICTED_AT_ONCE = 1024 };

/* JavaScript has to hear of each; what cannot be told stays. */
static int evict(struct engine *e, uint32_t count) {
  const struct entry *victims[EVICTED_AT_ONCE];
  if (count > EVICTED_AT_ONCE || table_unestablished(e->table, victims, count) < count) return 0;
  for (uint32_t i = 0; i < count; i++) {
    struct flow_key key = victims[i]->key;
    if (!events_push(&e->events, EVENT_EVICTED, &key, 0)) return 0;
    engine_remove(e, &key, table_hash(e->table, &key));
  }
  return 1;
}

/* Room for so many new flows, if need be in place of others that nobody uses. */
static int make_room(struct engine *e, uint64_t additional) {
  uint32_t capacity = table_capacity(e->table), permitted = table_permitted(e->table);
  if (additional > capacity) return 0;
  return additional <= capacity - permitted || evict(e, (uint32_t)additional - (capacity - permitted));
}

/* Only when the table is nearly full it is looked how many flows are new. A flow that is named twice counts twice. */
static int fits(struct engine *e, const struct keys *keys) {
  if (keys->count <= UINT32_MAX && table_has_room(e->table, (uint32_t)keys->count)) return 1;
  uint64_t additional = 0;
  struct ahead ahead;
  start_ahead(e, keys, &ahead);
  for (size_t i = 0; i < keys->count; i++) {
    struct entry *entry = table_find(e->table, &keys->key[i], fetch_ahead(e, keys, i, &ahead));
    if (!entry || (atomic_load(&entry->term) & TERM_REFUSED)) additional++;
    else table_refresh(e->table, entry);
  }
  return make_room(e, additional);
}

static struct permission read_permission(const double *values, uint64_t now) {
  return (struct permission){
      .allowed = to_u64(values[0]),
      .expires = now + to_u64(values[1] * (double)NANOSECONDS_PER_MILLISECOND),
      .notify_at = values[2] < 0 ? NO_THRESHOLD : to_u64(values[2]),
      .counted_at_least = to_u64(values[3]),
      .recounts = values[4] >= 0,
      .count_from = values[4] < 0 ? 0 : to_u64(values[4]),
      .path = (uint8_t)to_u64(values[5]),
  };
}

static int permit_all(struct engine *e, const struct keys *keys, const double *values,
                      const struct authentication *authentications, uint8_t *is_new) {
  static const struct authentication none;
  uint64_t now = clock_now();
  int result = 0;
  struct ahead ahead;
  start_ahead(e, keys, &ahead);
  for (size_t i = 0; i < keys->count; i++) {
    struct permission permission = read_permission(&values[i * PERMIT_VALUES], now);
    const struct authentication *authentication = authentications ? &authentications[i] : &none;
    enum permit_result permitted;
    uint64_t hash = fetch_ahead(e, keys, i, &ahead);
    if (engine_permit(e, &keys->key[i], hash, &permission, authentication, &permitted) < 0) result = -1;
    is_new[i] = permitted == PERMIT_NEW;
  }
  return result;
}

static void discard_authentications(struct authentication *all, size_t count) {
  for (size_t i = 0; i < count; i++) association_destroy(all[i].association);
  free(all);
}

static struct association *make_association(napi_env env, uint32_t spi, uint32_t algorithm,
                                            enum protection_action action, napi_value bytes) {
  void *key = NULL;
  size_t length = 0;
  if (get_typed_array(env, bytes, napi_uint8_array, &key, &length) < 0) return NULL;
  struct ah_key *prepared = ah_key_create((enum ah_algorithm)algorithm, key, length, action == PROTECT_INSERT);
  struct association *a = prepared ? association_create(spi, (enum ah_algorithm)algorithm, action, prepared) : NULL;
  if (!a) throw_error(env, "EKEY", "the key does not fit the AH algorithm, the SPI is reserved, or memory is short");
  return a;
}

/* The same flow earlier in the batch may change what it has. */
static int is_repeated(const struct keys *keys, size_t index) {
  for (size_t i = 0; i < index; i++)
    if (flow_key_equal(&keys->key[i], &keys->key[index])) return 1;
  return 0;
}

static int stays_as_it_is(const struct engine *e, const struct keys *keys, size_t index, uint32_t spi,
                          uint32_t algorithm, uint32_t action) {
  return engine_has_association(e, &keys->key[index], spi, (enum ah_algorithm)algorithm,
                                (enum protection_action)action) &&
         !is_repeated(keys, index);
}

static int read_authentication(napi_env env, const struct engine *e, const struct keys *keys, size_t index,
                               napi_value value, struct authentication *out) {
  napi_value key;
  uint32_t action = 0, spi = 0, algorithm = 0, overlap = 0, overlap_bytes = 0;
  if (get_field_u32(env, value, "action", PROTECT_STRIP, &action) < 0 ||
      get_field_u32(env, value, "spi", UINT32_MAX, &spi) < 0 ||
      get_field_u32(env, value, "algorithm", AH_ALGORITHMS - 1, &algorithm) < 0 ||
      get_field_u32(env, value, "overlap", UINT32_MAX, &overlap) < 0 ||
      get_field_u32(env, value, "overlapBytes", UINT32_MAX, &overlap_bytes) < 0)
    return -1;
  if (napi_get_named_property(env, value, "key", &key) != napi_ok) return throw_error(env, "EINVAL", "a key is missing");
  out->overlap = overlap * NANOSECONDS_PER_MILLISECOND;
  out->overlap_bytes = overlap_bytes;
  out->stays = stays_as_it_is(e, keys, index, spi, algorithm, action);
  if (out->stays) return 0;
  out->association = make_association(env, spi, algorithm, (enum protection_action)action, key);
  return out->association ? 0 : -1;
}

static int read_authentication_at(napi_env env, const struct engine *e, const struct keys *keys, napi_value array,
                                  uint32_t index, struct authentication *out) {
  napi_value value;
  napi_valuetype type;
  if (napi_get_element(env, array, index, &value) != napi_ok || napi_typeof(env, value, &type) != napi_ok)
    return throw_error(env, "EINVAL", "authentication %u cannot be read", index);
  return type == napi_object ? read_authentication(env, e, keys, index, value, out) : 0;
}

/* One for each flow, or `*out` NULL when JavaScript gives none. */
static int get_authentications(napi_env env, const struct engine *e, const struct keys *keys, napi_value array,
                               struct authentication **out) {
  size_t count = keys->count;
  uint32_t length = 0;
  bool is_array = false;
  *out = NULL;
  napi_is_array(env, array, &is_array);
  if (!is_array) return 0;
  if (napi_get_array_length(env, array, &length) != napi_ok || length != count)
    return throw_error(env, "EINVAL", "an authentication for each flow is needed");
  struct authentication *all = calloc(count ? count : 1, sizeof *all);
  if (!all) return throw_error(env, "ENOMEM", "out of memory");
  for (uint32_t i = 0; i < length; i++) {
    if (read_authentication_at(env, e, keys, array, i, &all[i]) == 0) continue;
    discard_authentications(all, count);
    return -1;
  }
  *out = all;
  return 0;
}

static void permit_or_throw(napi_env env, struct engine *e, const struct keys *keys, const double *values,
                            struct authentication *authentications, uint8_t *is_new) {
  if (!fits(e, keys)) {
    if (authentications) discard_authentications(authentications, keys->count);
    throw_error(env, "EFULL", "the flow table is full (%u flows), and none is idle since it came", table_capacity(e->table));
    return;
  }
  int result = permit_all(e, keys, values, authentications, is_new);
  int error = errno;
  free(authentications);
  if (result < 0) throw_errno(env, error, "held packets could not be released");
}

napi_value addon_permit(napi_env env, napi_callback_info info) {
  napi_value a[5];
  struct keys keys = {0};
  struct authentication *authentications = NULL;
  double *values = NULL;
  void *is_new = NULL;
  size_t flags = 0;
  if (get_arguments(env, info, 5, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0 || get_doubles(env, a[2], keys.count * PERMIT_VALUES, &values) < 0 ||
      get_typed_array(env, a[3], napi_uint8_array, &is_new, &flags) < 0)
    return NULL;
  if (flags < keys.count) throw_error(env, "EINVAL", "a flag for each flow is needed");
  else if (get_authentications(env, e, &keys, a[4], &authentications) == 0)
    permit_or_throw(env, e, &keys, values, authentications, is_new);
  return NULL;
}

static int throw_set_error(napi_env env, const struct engine *e, int error) {
  const char *name = e->sets.failed ? e->sets.failed : "";
  if (error == ENOENT) return throw_error(env, "ENOENT", "kernel set %s does not exist", name);
  if (error == IPSET_ERR_TYPE_SPECIFIC) return throw_error(env, "ENOSPC", "kernel set %s is full", name);
  if (error >= IPSET_ERR_PRIVATE)
    return throw_error(env, "EPROTO", "kernel set %s does not take elements (error %d)", name, error);
  return throw_errno(env, error, "a kernel set cannot be changed");
}

static int add_range(struct engine *e, const struct keys *keys, uint32_t start, uint32_t end, uint32_t seconds) {
  for (uint32_t i = start; i < end; i++) {
    struct entry *entry = table_find(e->table, &keys->key[i], table_hash(e->table, &keys->key[i]));
    if (entry && engine_add_to_set(e, entry, seconds) < 0) return -1;
  }
  return engine_flush_sets(e);
}

static void forget_range(struct engine *e, const struct keys *keys, uint32_t start, uint32_t end) {
  for (uint32_t i = start; i < end; i++) {
    struct entry *entry = table_find(e->table, &keys->key[i], table_hash(e->table, &keys->key[i]));
    if (entry) entry->set_added = 0;
  }
}

static uint32_t seconds_now(void) { return (uint32_t)(clock_now() / NANOSECONDS_PER_SECOND); }

napi_value addon_add_to_sets(napi_env env, napi_callback_info info) {
  napi_value a[4];
  struct keys keys = {0};
  uint32_t start = 0, end = 0;
  if (get_arguments(env, info, 4, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0 || get_u32(env, a[2], (uint32_t)keys.count, &start) < 0 ||
      get_u32(env, a[3], (uint32_t)keys.count, &end) < 0)
    return NULL;
  if (add_range(e, &keys, start, end, seconds_now()) == 0) return NULL;
  int error = errno;
  forget_range(e, &keys, start, end);
  throw_set_error(env, e, error);
  return NULL;
}

static int keep_range(struct engine *e, uint32_t start, uint32_t end, uint64_t now, int all) {
  struct entry *entry;
  protections_reclaim(&e->protections);
  while ((entry = table_next_permitted(e->table, &start, end)) != NULL) {
    engine_tidy(e, entry, now);
    if (atomic_load_explicit(&entry->term, memory_order_relaxed) <= now) continue;
    if (all) entry->set_added = 0;
    if (engine_add_to_set(e, entry, (uint32_t)(now / NANOSECONDS_PER_SECOND)) < 0) return -1;
  }
  return engine_flush_sets(e);
}

static void forget_entries(struct engine *e, uint32_t start, uint32_t end) {
  struct entry *entry;
  while ((entry = table_next_permitted(e->table, &start, end)) != NULL) entry->set_added = 0;
}

/* Adds what is due, or all, of a range of entries. Returns how many entries there are to go through. */
napi_value addon_keep_in_sets(napi_env env, napi_callback_info info) {
  napi_value a[4];
  uint32_t start = 0, end = 0, all = 0;
  if (get_arguments(env, info, 4, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_u32(env, a[1], UINT32_MAX, &start) < 0 || get_u32(env, a[2], UINT32_MAX, &end) < 0 ||
      get_u32(env, a[3], 1, &all) < 0)
    return NULL;
  if (keep_range(e, start, end, clock_now(), (int)all) == 0) return make_number(env, table_used(e->table));
  int error = errno;
  forget_entries(e, start, end);
  throw_set_error(env, e, error);
  return NULL;
}

napi_value addon_remove(napi_env env, napi_callback_info info) {
  napi_value a[2];
  struct keys keys = {0};
  if (get_arguments(env, info, 2, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0) return NULL;
  struct ahead ahead;
  start_ahead(e, &keys, &ahead);
  for (size_t i = 0; i < keys.count; i++) {
    engine_remove(e, &keys.key[i], fetch_ahead(e, &keys, i, &ahead));
  }
  return make_number(env, (double)table_ticket(e->table));
}

napi_value addon_settled(napi_env env, napi_callback_info info) {
  napi_value a[2], result = NULL;
  double ticket = 0;
  if (get_arguments(env, info, 2, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_number(env, a[1], 0, 9007199254740991.0, &ticket) < 0) return NULL;
  napi_get_boolean(env, table_settled(e->table, (uint64_t)ticket), &result);
  return result;
}

napi_value addon_refuse(napi_env env, napi_callback_info info) {
  napi_value a[4];
  struct keys keys = {0};
  double milliseconds = 0;
  uint32_t open = 0;
  if (get_arguments(env, info, 4, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0 || get_number(env, a[2], 0, 1e12, &milliseconds) < 0 ||
      get_u32(env, a[3], 1, &open) < 0)
    return NULL;
  uint64_t until = clock_now() + to_u64(milliseconds * (double)NANOSECONDS_PER_MILLISECOND);
  for (size_t i = 0; i < keys.count; i++) {
    if (engine_refuse(e, &keys.key[i], until, (int)open) == 0) continue;
    throw_errno(env, errno, "held packets could not be refused");
    return NULL;
  }
  return NULL;
}

napi_value addon_steer(napi_env env, napi_callback_info info) {
  napi_value a[3];
  struct keys keys = {0};
  uint32_t path = 0;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0 || get_u32(env, a[2], PATH_MASK >> PATH_SHIFT, &path) < 0) return NULL;
  for (size_t i = 0; i < keys.count; i++) engine_steer(e, &keys.key[i], (uint8_t)path);
  return NULL;
}

static double load(const _Atomic uint64_t *field) { return (double)atomic_load_explicit(field, memory_order_relaxed); }

/* SPI (0: packets have no AH), algorithm, sequence, bytes up to it, failures by reason. */
static void read_protection(struct protection *protection, uint64_t now, double *out) {
  struct association *current = protection ? atomic_load(&protection->current) : NULL;
  struct tally_mark mark = {0};
  if (current) mark = association_mark(current, now);
  out[0] = current ? current->spi : 0;
  out[1] = current ? current->algorithm : 0;
  out[2] = mark.sequence;
  out[3] = (double)mark.bytes;
  for (int i = 0; i < FAILURE_COUNT; i++) out[4 + i] = protection ? load(&protection->failures[i]) : 0;
}

static void read_entry(const struct entry *entry, uint64_t now, double *out) {
  uint64_t last = atomic_load_explicit(&entry->last, memory_order_relaxed);
  out[0] = 1;
  out[1] = load(&entry->bytes);
  out[2] = load(&entry->packets);
  out[3] = load(&entry->over_volume);
  out[4] = load(&entry->expired);
  out[5] = last == 0 ? -1 : (double)(now > last ? now - last : 0) / (double)NANOSECONDS_PER_MILLISECOND;
}

napi_value addon_read(napi_env env, napi_callback_info info) {
  napi_value a[3];
  struct keys keys = {0};
  double *out = NULL;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0 || get_doubles(env, a[2], keys.count * READ_VALUES, &out) < 0) return NULL;
  uint64_t now = clock_now();
  for (size_t i = 0; i < keys.count; i++) {
    const struct entry *entry = table_find(e->table, &keys.key[i], table_hash(e->table, &keys.key[i]));
    out[i * READ_VALUES] = 0;
    if (!entry || (atomic_load(&entry->term) & TERM_REFUSED)) continue;
    read_entry(entry, now, &out[i * READ_VALUES]);
    read_protection(engine_protection(e, entry), now, &out[i * READ_VALUES + 6]);
  }
  return NULL;
}

/* Bytes let through up to a sequence number of an association, or -1. */
napi_value addon_read_up_to(napi_env env, napi_callback_info info) {
  napi_value a[4];
  struct keys keys = {0};
  uint32_t spi = 0, sequence = 0;
  uint64_t bytes = 0;
  if (get_arguments(env, info, 4, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0 || get_u32(env, a[2], UINT32_MAX, &spi) < 0 ||
      get_u32(env, a[3], UINT32_MAX, &sequence) < 0)
    return NULL;
  const struct entry *entry = keys.count == 1 ? table_find(e->table, keys.key, table_hash(e->table, keys.key)) : NULL;
  struct protection *protection = entry ? engine_protection(e, entry) : NULL;
  int known = protection && protection_bytes_up_to(protection, spi, sequence, &bytes);
  return make_number(env, known ? (double)bytes : -1);
}

/* Returns whether the flow has a permission, without which there is nothing to count. */
napi_value addon_trace(napi_env env, napi_callback_info info) {
  napi_value a[3], result = NULL;
  struct keys keys = {0};
  uint32_t number = 0;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_keys(env, a[1], &keys) < 0 || get_u32(env, a[2], PLACES_FLOWS, &number) < 0) return NULL;
  napi_get_boolean(env, keys.count == 1 && engine_trace(e, keys.key, number), &result);
  return result;
}

/* For each place interface, address (the number that its bytes are), bytes, packets that failed; then packets of others. */
napi_value addon_read_places(napi_env env, napi_callback_info info) {
  napi_value a[3];
  uint32_t number = 0;
  double *out = NULL;
  if (get_arguments(env, info, 3, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_u32(env, a[1], PLACES_FLOWS, &number) < 0 || get_doubles(env, a[2], PLACES_VALUES, &out) < 0) return NULL;
  const struct places *places = &e->places[number];
  for (int i = 0; i < PLACES_OF_FLOW; i++) {
    const struct place_count *place = &places->place[i];
    uint64_t name = atomic_load_explicit(&place->name, memory_order_relaxed);
    out[4 * i] = (double)(name >> 48);
    out[4 * i + 1] = (double)(name & 0xffffffffffffULL);
    out[4 * i + 2] = load(&place->bytes);
    out[4 * i + 3] = load(&place->failed);
  }
  out[4 * PLACES_OF_FLOW] = load(&places->other);
  return NULL;
}

/* Judges a packet as a queue would: the decision, or minus the problem with the packet. */
napi_value addon_probe(napi_env env, napi_callback_info info) {
  napi_value a[4];
  void *bytes = NULL;
  size_t captured = 0;
  uint32_t full = 0, offloaded = 0;
  struct packet packet;
  if (get_arguments(env, info, 4, a) < 0) return NULL;
  struct engine *e = get_engine(env, a[0]);
  if (!e || get_typed_array(env, a[1], napi_uint8_array, &bytes, &captured) < 0 ||
      get_u32(env, a[2], UINT32_MAX, &full) < 0 || get_u32(env, a[3], 1, &offloaded) < 0)
    return NULL;
  enum packet_problem problem = packet_parse(&packet, bytes, captured, full, (int)offloaded);
  if (problem != PACKET_FINE) return make_number(env, -(double)problem);
  uint64_t hash = table_hash(e->table, &packet.key);
  return make_number(env, judge_packet(&e->judge, &packet, hash, clock_now(), &e->counters));
}
