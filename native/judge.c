#include "judge.h"

static uint64_t get(const _Atomic uint64_t *field) { return atomic_load_explicit(field, memory_order_relaxed); }

static void add(_Atomic uint64_t *field, uint64_t value) {
  atomic_fetch_add_explicit(field, value, memory_order_relaxed);
}

/*
 * Segments of a flow are sized by what the opposite flow's sender announced, and are no larger than what their own sender
 * announced, because that is what its link carries. 0: neither is known. Only super-packets need it.
 */
static uint16_t segment_size(struct table *table, const struct entry *entry, const struct packet *packet) {
  struct flow_key opposite;
  flow_key_reverse(&opposite, &packet->key);
  const struct entry *back = table_find(table, &opposite, table_hash(table, &opposite));
  uint16_t own = atomic_load_explicit(&entry->mss, memory_order_relaxed);
  uint16_t theirs = back ? atomic_load_explicit(&back->mss, memory_order_relaxed) : 0;
  return theirs != 0 && (own == 0 || theirs < own) ? theirs : own;
}

static uint32_t count_segments(struct table *table, const struct entry *entry, const struct packet *packet) {
  return packet->offloaded ? packet_segments(packet, segment_size(table, entry, packet)) : 1;
}

/* Once until the next install; if the ring is full, at one of the next packets. */
static void raise_once(const struct judge *judge, struct entry *entry, uint32_t flag, enum event_type type,
                       uint64_t bytes, struct counters *counters) {
  if (atomic_load_explicit(&entry->raised, memory_order_relaxed) & flag) return;
  if (atomic_fetch_or(&entry->raised, flag) & flag) return;
  if (events_push(judge->events, type, &entry->key, bytes)) return;
  atomic_fetch_and(&entry->raised, ~flag);
  counters_add(counters, COUNTER_EVENTS_LATE, 1);
}

/* Two queues may carry one flow, so room is taken by compare and exchange. The new count, or 0 if there is no room. */
static uint64_t take_volume(struct entry *entry, uint64_t length) {
  uint64_t allowed = get(&entry->allowed);
  uint64_t bytes = get(&entry->bytes);
  do {
    if (bytes > allowed || length > allowed - bytes) return 0;
  } while (!atomic_compare_exchange_weak_explicit(&entry->bytes, &bytes, bytes + length, memory_order_relaxed,
                                                  memory_order_relaxed));
  return bytes + length;
}

/* What is counted of where the flow's packets come in; NULL: nothing. */
static struct places *places_of(const struct judge *judge, const struct entry *entry, const struct packet *packet) {
  uint32_t number = atomic_load_explicit(&entry->raised, memory_order_relaxed) >> TRACED_SHIFT;
  return number && packet->place && judge->places ? &judge->places[number] : NULL;
}

void judge_failed(const struct judge *judge, const struct entry *entry, const struct packet *packet) {
  struct places *places = places_of(judge, entry, packet);
  if (places) places_failed(places, packet->place);
}

static void note_passed(const struct judge *judge, struct entry *entry, const struct packet *packet, uint64_t length,
                        uint32_t segments, uint64_t now) {
  struct places *places = places_of(judge, entry, packet);
  if (places) places_passed(places, packet->place, length);
  add(&entry->packets, segments);
  atomic_store_explicit(&entry->last, now, memory_order_relaxed);
  if (packet->mss) atomic_store_explicit(&entry->mss, packet->mss, memory_order_relaxed);
}

static enum decision over_volume(const struct judge *judge, struct entry *entry, const struct packet *packet,
                                 uint64_t length, uint32_t segments, uint64_t now, struct counters *counters) {
  add(&entry->over_volume, 1);
  raise_once(judge, entry, RAISED_EXHAUSTED, EVENT_EXHAUSTED, get(&entry->bytes), counters);
  if (judge->enforce) {
    counters_add(counters, COUNTER_DROP_OVER_VOLUME, 1);
    return DECIDE_DROP;
  }
  add(&entry->bytes, length);
  note_passed(judge, entry, packet, length, segments, now);
  counters_add(counters, COUNTER_ACCEPT_OVER_VOLUME, 1);
  return DECIDE_ACCEPT;
}

static enum decision take(const struct judge *judge, struct entry *entry, const struct packet *packet,
                          uint32_t segments, uint64_t length, uint64_t now, struct counters *counters) {
  uint64_t bytes = take_volume(entry, length);
  if (bytes == 0) return over_volume(judge, entry, packet, length, segments, now, counters);
  note_passed(judge, entry, packet, length, segments, now);
  if (bytes >= get(&entry->notify_at))
    raise_once(judge, entry, RAISED_THRESHOLD, EVENT_THRESHOLD, bytes, counters);
  counters_add(counters, COUNTER_ACCEPT, 1);
  return DECIDE_ACCEPT;
}

enum decision judge_volume(const struct judge *judge, struct entry *entry, const struct packet *packet,
                           uint64_t length, uint64_t now, struct counters *counters) {
  return take(judge, entry, packet, 1, length, now, counters);
}

int judge_has_volume(const struct judge *judge, const struct entry *entry, uint64_t length) {
  uint64_t allowed = get(&entry->allowed);
  uint64_t bytes = get(&entry->bytes);
  return !judge->enforce || (bytes <= allowed && length <= allowed - bytes);
}

int judge_is_exhausted(const struct entry *entry) {
  return (atomic_load_explicit(&entry->raised, memory_order_relaxed) & RAISED_EXHAUSTED) != 0;
}

static struct protection *protection_of(const struct judge *judge, const struct entry *entry) {
  uint32_t number = atomic_load_explicit(&entry->protection, memory_order_relaxed);
  return number == 0 ? NULL : protections_at(judge->protections, number);
}

struct entry *judge_find(const struct judge *judge, const struct packet *packet, uint64_t hash, uint64_t now,
                         struct protection **protection) {
  struct entry *entry = table_find(judge->table, &packet->key, hash);
  *protection = NULL;
  if (!entry) return NULL;
  uint64_t term = atomic_load_explicit(&entry->term, memory_order_acquire);
  if (!(term & TERM_REFUSED) && term > now) *protection = protection_of(judge, entry);
  return entry;
}

static enum decision missing(struct protection *protection, struct counters *counters) {
  protection_failed(protection, FAILURE_MISSING);
  counters_add(counters, COUNTER_DROP_AH_MISSING, 1);
  return DECIDE_DROP;
}

static enum decision permitted(const struct judge *judge, struct entry *entry, const struct packet *packet,
                               uint64_t now, struct counters *counters) {
  uint32_t segments = count_segments(judge->table, entry, packet);
  uint64_t length = packet_wire_bytes(packet, segments);
  struct protection *protection = protection_of(judge, entry);
  enum screening screening = protection ? protection_screen(protection, packet, length, now) : SCREEN_PLAIN;
  if (screening == SCREEN_DEEP) return DECIDE_DEEP;
  if (screening == SCREEN_MISSING) {
    judge_failed(judge, entry, packet);
    return missing(protection, counters);
  }
  return take(judge, entry, packet, segments, length, now, counters);
}

static enum decision refused(const struct entry *entry, uint64_t until, uint64_t now) {
  if (until <= now) return DECIDE_UNKNOWN;
  return atomic_load_explicit(&entry->raised, memory_order_relaxed) & REFUSED_OPEN ? DECIDE_OPEN : DECIDE_REFUSE;
}

enum decision judge_packet(const struct judge *judge, const struct packet *packet, uint64_t hash, uint64_t now,
                           struct counters *counters) {
  struct entry *entry = table_find(judge->table, &packet->key, hash);
  if (!entry) return DECIDE_UNKNOWN;
  uint64_t term = atomic_load_explicit(&entry->term, memory_order_acquire);
  if (term & TERM_REFUSED) return refused(entry, term & ~TERM_REFUSED, now);
  if (term > now) return permitted(judge, entry, packet, now, counters);
  add(&entry->expired, 1);
  counters_add(counters, COUNTER_DROP_EXPIRED, 1);
  return DECIDE_DROP;
}

enum counter judge_problem(enum packet_problem problem) {
  switch (problem) {
    case PACKET_FRAGMENT:
      return COUNTER_DROP_FRAGMENT;
    case PACKET_NOT_A_FLOW:
      return COUNTER_DROP_NOT_A_FLOW;
    case PACKET_HEADERS_TOO_LONG:
      return COUNTER_DROP_HEADERS_TOO_LONG;
    default:
      return COUNTER_DROP_MALFORMED;
  }
}
