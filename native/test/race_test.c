/*
 * Queue threads judge packets while flows come, change, and go. Meant for the thread sanitizer; without it, it still
 * checks that the volume of a flow that two threads share is used to the byte and never exceeded.
 */
#include <pthread.h>
#include <stdlib.h>

#include "../clock.h"
#include "../judge.h"
#include "check.h"

enum { FLOWS = 512, READERS = 2, ROUNDS = 30000, LENGTH = 100, SHARED = FLOWS, SHARED_CAP = 1000050 };

struct shared {
  struct table *table;
  struct events events;
  struct judge judge;
  _Atomic int done;
};

struct reader {
  struct shared *shared;
  struct counters *counters;
  pthread_t thread;
  int number;
  uint64_t passed;
};

static struct packet packet_of(uint32_t n) {
  struct packet p;
  memset(&p, 0, sizeof p);
  memcpy(p.key.source, &n, sizeof n);
  p.key.family = 4;
  p.length = LENGTH;
  p.header = p.ip_header = 20;
  return p;
}

static void *read_all(void *argument) {
  struct reader *r = argument;
  struct shared *s = r->shared;
  while (!atomic_load(&s->done)) {
    table_enter(s->table, r->number);
    for (uint32_t i = 0; i < 64; i++) {
      struct packet p = packet_of(i % 2 ? SHARED : (uint32_t)rand() % FLOWS);
      uint64_t hash = table_hash(s->table, &p.key);
      table_prefetch_index(s->table, hash);
      table_prefetch_entry(s->table, hash);
      enum decision decision = judge_packet(&s->judge, &p, hash, NANOSECONDS_PER_SECOND, r->counters);
      if (i % 2 && decision == DECIDE_ACCEPT) r->passed += LENGTH;
    }
    table_leave(s->table, r->number);
  }
  return NULL;
}

static void permit(struct shared *s, uint32_t n, uint64_t allowed) {
  struct packet p = packet_of(n);
  struct permission permission = {
      .allowed = allowed, .expires = 2 * NANOSECONDS_PER_SECOND, .notify_at = LENGTH * 2};
  table_permit(s->table, &p.key, table_hash(s->table, &p.key), &permission);
}

static void change_one(struct shared *s, uint32_t n, uint32_t what) {
  struct packet p = packet_of(n);
  uint64_t hash = table_hash(s->table, &p.key);
  struct event events[16];
  if (what < 4) permit(s, n, what * 1000);
  else if (what < 7) table_remove(s->table, &p.key, hash);
  else table_refuse(s->table, &p.key, hash, NANOSECONDS_PER_SECOND + 1, 0);
  events_take(&s->events, events, 16);
}

int main(void) {
  struct shared s;
  struct reader readers[READERS];
  memset(&s, 0, sizeof s);
  s.table = table_create(FLOWS + 1, 32);
  events_init(&s.events, 64, NULL, NULL);
  s.judge = (struct judge){.table = s.table, .events = &s.events, .enforce = 1};
  permit(&s, SHARED, SHARED_CAP);
  for (int i = 0; i < READERS; i++) {
    struct counters *counters = aligned_alloc(64, (sizeof *counters + 63) / 64 * 64);
    memset(counters, 0, sizeof *counters);
    readers[i] = (struct reader){.shared = &s, .counters = counters, .number = table_reader(s.table)};
    pthread_create(&readers[i].thread, NULL, read_all, &readers[i]);
  }
  uint32_t random = 7;
  struct packet shared_packet = packet_of(SHARED);
  const struct entry *shared_entry =
      table_find(s.table, &shared_packet.key, table_hash(s.table, &shared_packet.key));
  for (int i = 0; i < ROUNDS || atomic_load(&shared_entry->over_volume) == 0; i++) {
    random = random * 1664525 + 1013904223;
    change_one(&s, (random >> 12) % FLOWS, random >> 29);
  }
  atomic_store(&s.done, 1);
  uint64_t passed = 0;
  for (int i = 0; i < READERS; i++) {
    pthread_join(readers[i].thread, NULL);
    passed += readers[i].passed;
    free(readers[i].counters);
  }
  CHECK_EQUAL(passed, SHARED_CAP - SHARED_CAP % LENGTH);
  CHECK_EQUAL(atomic_load(&shared_entry->bytes), passed);
  uint64_t ticket = table_ticket(s.table);
  CHECK(table_settled(s.table, ticket));
  table_destroy(s.table);
  events_destroy(&s.events);
  return CHECK_RESULT();
}
