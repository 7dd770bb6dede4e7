/*
 * Threads verify packets while flows get new keys, lose them, are refused, removed, and come back in the place of others.
 * Every flow has AH as long as it is permitted, and keys of its own, so: nothing passes without AH, nor with another
 * flow's key. Meant for the thread sanitizer, and for the one of addresses: a key may not be freed under a reader.
 */
#include "ah-flows.h"
#include "check.h"

enum { FLOWS = 12, KEYS = 2, READERS = 2, ROUNDS = 20000, PLENTY = 1 << 30, EVENTS = 16 };

struct shared {
  struct engine *engine;
  struct built plain[FLOWS], good[FLOWS][KEYS], wrong[FLOWS];
  _Atomic int done;
};

struct reader {
  struct shared *shared;
  struct authenticator *authenticator;
  struct counters *counters;
  pthread_t thread;
  int number;
  uint64_t verified, passed_without, passed_wrong;
};

static uint32_t spi_of(uint32_t flow, uint32_t key) { return 0x1000 + flow * KEYS + key; }
static uint8_t byte_of(uint32_t flow, uint32_t key) { return (uint8_t)(1 + flow * KEYS + key); }

static void put(struct reader *r, int index, struct packet *packet, struct built *copy, const struct built *b) {
  *copy = *b;
  *packet = parsed_packet(copy);
  authenticate(r->authenticator, &r->shared->engine->judge, index, packet, copy->bytes, copy->length,
               table_hash(r->shared->engine->table, &packet->key), clock_now(), r->counters);
}

/* One batch: of each flow a packet without AH, those with its keys, and one with its SPI and a neighbour's key. */
static void read_batch(struct reader *r) {
  enum { OF_FLOW = 2 + KEYS };
  static _Thread_local struct built copies[FLOWS * OF_FLOW];
  static _Thread_local struct packet packets[FLOWS * OF_FLOW];
  struct shared *s = r->shared;
  table_enter(s->engine->table, r->number);
  for (int i = 0; i < FLOWS * OF_FLOW; i++) {
    int flow = i / OF_FLOW, what = i % OF_FLOW;
    const struct built *b = what == 0 ? &s->plain[flow] : what == 1 ? &s->wrong[flow] : &s->good[flow][what - 2];
    put(r, i, &packets[i], &copies[i], b);
  }
  authenticator_finish(r->authenticator, r->counters);
  for (int i = 0; i < FLOWS * OF_FLOW; i++) {
    int passed = authenticator_outcome(r->authenticator, i).decision == DECIDE_ACCEPT;
    if (i % OF_FLOW == 0) r->passed_without += passed;
    else if (i % OF_FLOW == 1) r->passed_wrong += passed;
    else r->verified += passed;
  }
  table_leave(s->engine->table, r->number);
}

static void *read_all(void *argument) {
  struct reader *r = argument;
  while (!atomic_load(&r->shared->done)) read_batch(r);
  return NULL;
}

/* New flows stand in the entries and protections of those removed. */
static void change_one(struct shared *s, uint32_t flow, uint32_t what) {
  struct event events[EVENTS];
  struct packet packet = parsed_packet(&s->plain[flow]);
  struct entry *entry = table_find(s->engine->table, &packet.key, table_hash(s->engine->table, &packet.key));
  uint32_t key = what & 1;
  if (what < 5) {
    enum protection_action action = flow & 1 ? PROTECT_STRIP : PROTECT_VERIFY;
    permit_flow(s->engine, (uint16_t)flow, PLENTY, mac_association(spi_of(flow, key), byte_of(flow, key), action), PLENTY);
  } else if (what == 5) {
    engine_refuse(s->engine, &packet.key, clock_now() + NANOSECONDS_PER_SECOND, 0);
  } else if (what == 6) {
    engine_remove(s->engine, &packet.key, table_hash(s->engine->table, &packet.key));
  } else if (entry) {
    engine_tidy(s->engine, entry, clock_now() + AH_NOW_LIFETIME * NANOSECONDS_PER_SECOND);
    protections_reclaim(&s->engine->protections);
  }
  events_take(&s->engine->events, events, EVENTS);
}

static void make_packets(struct shared *s) {
  for (uint32_t flow = 0; flow < FLOWS; flow++) {
    s->plain[flow] = flow_packet((uint16_t)flow, 20);
    for (uint32_t key = 0; key < KEYS; key++)
      s->good[flow][key] = with_mac(&s->plain[flow], spi_of(flow, key), byte_of(flow, key), 1);
    uint32_t neighbour = (flow + 1) % FLOWS;
    s->wrong[flow] = with_mac(&s->plain[flow], spi_of(flow, 0), byte_of(neighbour, 0), 2);
  }
}

static void start(struct reader *r, struct shared *s) {
  struct counters *counters = aligned_alloc(64, (sizeof *counters + 63) / 64 * 64);
  memset(counters, 0, sizeof *counters);
  *r = (struct reader){.shared = s, .authenticator = authenticator_create(), .counters = counters,
                       .number = table_reader(s->engine->table)};
  pthread_create(&r->thread, NULL, read_all, r);
}

static void finish_reader(struct reader *r) {
  pthread_join(r->thread, NULL);
  CHECK_EQUAL(r->passed_without, 0);
  CHECK_EQUAL(r->passed_wrong, 0);
  CHECK(r->verified > 0);
  authenticator_destroy(r->authenticator);
  free(r->counters);
}

int main(void) {
  static struct shared s;
  struct reader readers[READERS];
  s.engine = table_engine(FLOWS, 1);
  make_packets(&s);
  for (int i = 0; i < READERS; i++) start(&readers[i], &s);
  uint32_t random = 7;
  for (int i = 0; i < ROUNDS; i++) {
    random = random * 1664525 + 1013904223;
    change_one(&s, (random >> 12) % FLOWS, random >> 29);
  }
  atomic_store(&s.done, 1);
  for (int i = 0; i < READERS; i++) finish_reader(&readers[i]);
  engine_close(s.engine);
  return CHECK_RESULT();
}
