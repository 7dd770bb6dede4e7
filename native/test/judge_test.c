#include "../judge.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "check.h"

enum { NOW = 1000, LATER = 2000 };

struct fixture {
  struct table *table;
  struct events events;
  struct judge judge;
  struct counters counters;
};

static void set_up(struct fixture *f, uint32_t event_slots) {
  memset(f, 0, sizeof *f);
  f->table = table_create(100, 10);
  events_init(&f->events, event_slots, NULL, NULL);
  f->judge = (struct judge){.table = f->table, .events = &f->events, .enforce = 1};
}

static void tear_down(struct fixture *f) {
  table_destroy(f->table);
  events_destroy(&f->events);
}

static struct packet make_packet(uint32_t length) {
  struct packet p;
  memset(&p, 0, sizeof p);
  p.key.family = 4;
  p.key.protocol = IPPROTO_TCP;
  p.key.source[3] = 1;
  p.key.destination[3] = 2;
  p.key.source_port = htons(4000);
  p.key.destination_port = htons(80);
  p.length = length;
  p.ip_header = 20;
  p.header = 40;
  return p;
}

static void permit(struct fixture *f, const struct flow_key *key, uint64_t allowed, uint64_t notify_at) {
  struct permission p = {.allowed = allowed, .expires = LATER, .notify_at = notify_at};
  table_permit(f->table, key, table_hash(f->table, key), &p);
}

static enum decision judge_at(struct fixture *f, const struct packet *p, uint64_t now) {
  return judge_packet(&f->judge, p, table_hash(f->table, &p->key), now, &f->counters);
}

static uint32_t take_event(struct fixture *f, enum event_type type) {
  struct event event;
  return events_take(&f->events, &event, 1) == 1 && event.type == type;
}

static struct entry *entry_of(struct fixture *f, const struct flow_key *key) {
  return table_find(f->table, key, table_hash(f->table, key));
}

static void test_exact_cut(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 8);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_UNKNOWN);
  permit(&f, &p.key, 250, NO_THRESHOLD);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_DROP);
  p.length = 50;
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT); /* exactly at the cap */
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_DROP);
  const struct entry *entry = entry_of(&f, &p.key);
  CHECK_EQUAL(atomic_load(&entry->bytes), 250);
  CHECK_EQUAL(atomic_load(&entry->packets), 3);
  CHECK_EQUAL(atomic_load(&entry->over_volume), 2);
  CHECK_EQUAL(atomic_load(&entry->last), NOW);
  CHECK(take_event(&f, EVENT_EXHAUSTED));
  CHECK(!take_event(&f, EVENT_EXHAUSTED)); /* once */
  permit(&f, &p.key, 250, NO_THRESHOLD);
  judge_at(&f, &p, NOW);
  CHECK(take_event(&f, EVENT_EXHAUSTED)); /* until the next install */
  CHECK_EQUAL(counters_get(&f.counters, COUNTER_ACCEPT), 3);
  CHECK_EQUAL(counters_get(&f.counters, COUNTER_DROP_OVER_VOLUME), 3);
  tear_down(&f);
}

static void test_no_overflow(void) {
  struct fixture f;
  struct packet p = make_packet(1000);
  set_up(&f, 8);
  permit(&f, &p.key, UINT64_MAX, NO_THRESHOLD);
  atomic_store(&entry_of(&f, &p.key)->bytes, UINT64_MAX - 10);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_DROP);
  tear_down(&f);
}

static void test_expiry(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 8);
  permit(&f, &p.key, 1000, NO_THRESHOLD);
  CHECK_EQUAL(judge_at(&f, &p, LATER - 1), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &p, LATER), DECIDE_DROP);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &p.key)->expired), 1);
  tear_down(&f);
}

static void test_refusal(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 8);
  table_refuse(f.table, &p.key, table_hash(f.table, &p.key), LATER, 0);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_REFUSE);
  CHECK_EQUAL(judge_at(&f, &p, LATER), DECIDE_UNKNOWN);
  permit(&f, &p.key, 1000, NO_THRESHOLD);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT);
  tear_down(&f);
}

/* In an open network a flow may go without permission, until one comes or the time is over. */
static void test_open(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  uint64_t hash;
  set_up(&f, 8);
  hash = table_hash(f.table, &p.key);
  table_refuse(f.table, &p.key, hash, LATER, 1);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_OPEN);
  CHECK_EQUAL(judge_at(&f, &p, LATER), DECIDE_UNKNOWN);
  table_refuse(f.table, &p.key, hash, LATER, 0);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_REFUSE);
  table_refuse(f.table, &p.key, hash, LATER, 1);
  permit(&f, &p.key, 100, NO_THRESHOLD);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_DROP);
  CHECK(take_event(&f, EVENT_EXHAUSTED)); /* what was refused has left no trace */
  tear_down(&f);
}

/* A new epoch sets the count, and everything goes on from there. */
static void test_new_count(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 8);
  permit(&f, &p.key, 250, NO_THRESHOLD);
  judge_at(&f, &p, NOW);
  judge_at(&f, &p, NOW);
  struct permission again = {.allowed = 250, .expires = LATER, .notify_at = NO_THRESHOLD, .counted_at_least = 200,
                             .recounts = 1, .count_from = 100};
  table_permit(f.table, &p.key, table_hash(f.table, &p.key), &again);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_DROP);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &p.key)->bytes), 200);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &p.key)->packets), 3);
  tear_down(&f);
}

static void test_threshold(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 8);
  permit(&f, &p.key, 1000, 200);
  judge_at(&f, &p, NOW);
  CHECK(!take_event(&f, EVENT_THRESHOLD));
  judge_at(&f, &p, NOW);
  CHECK(take_event(&f, EVENT_THRESHOLD));
  judge_at(&f, &p, NOW);
  CHECK(!take_event(&f, EVENT_THRESHOLD));
  tear_down(&f);
}

/* An event that finds the ring full comes with a later packet. */
static void test_full_ring(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 1);
  permit(&f, &p.key, 1000, 100);
  events_push(&f.events, EVENT_WANTED, &p.key, 0);
  judge_at(&f, &p, NOW);
  CHECK_EQUAL(counters_get(&f.counters, COUNTER_EVENTS_LATE), 1);
  CHECK(take_event(&f, EVENT_WANTED));
  judge_at(&f, &p, NOW);
  CHECK(take_event(&f, EVENT_THRESHOLD));
  tear_down(&f);
}

static void test_not_enforced(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 8);
  f.judge.enforce = 0;
  permit(&f, &p.key, 150, NO_THRESHOLD);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &p, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &p.key)->bytes), 200);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &p.key)->over_volume), 1);
  CHECK(take_event(&f, EVENT_EXHAUSTED));
  CHECK_EQUAL(counters_get(&f.counters, COUNTER_ACCEPT_OVER_VOLUME), 1);
  tear_down(&f);
}

/* The SYN of one direction sizes the segments of the other. */
static void test_segments(void) {
  struct fixture f;
  struct packet data = make_packet(40 + 5000), syn = make_packet(44);
  set_up(&f, 8);
  flow_key_reverse(&syn.key, &data.key);
  syn.mss = 1000;
  data.offloaded = 1;
  permit(&f, &data.key, 100000, NO_THRESHOLD);
  permit(&f, &syn.key, 100000, NO_THRESHOLD);
  CHECK_EQUAL(judge_at(&f, &data, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &data.key)->bytes), 5000 + 4 * 40); /* unknown: 1460 */
  CHECK_EQUAL(judge_at(&f, &syn, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &data, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &data.key)->bytes), 5000 + 4 * 40 + 5000 + 5 * 40);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &data.key)->packets), 9);
  tear_down(&f);
}

/* What the sender itself announced, if that is less: its link carries no more. */
static void test_segments_of_a_smaller_link(void) {
  struct fixture f;
  struct packet data = make_packet(40 + 5000), syn = make_packet(44), answer = make_packet(44);
  set_up(&f, 8);
  flow_key_reverse(&answer.key, &data.key);
  syn.mss = 1000;
  answer.mss = 1460;
  data.offloaded = 1;
  permit(&f, &data.key, 100000, NO_THRESHOLD);
  permit(&f, &answer.key, 100000, NO_THRESHOLD);
  CHECK_EQUAL(judge_at(&f, &syn, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &answer, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(judge_at(&f, &data, NOW), DECIDE_ACCEPT);
  CHECK_EQUAL(atomic_load(&entry_of(&f, &data.key)->bytes), 44 + 5000 + 5 * 40);
  tear_down(&f);
}

/* Of a flow that is traced each place counts by itself, as long as the flow has its permission. */
static void test_places(void) {
  struct fixture f;
  struct packet p = make_packet(100);
  set_up(&f, 8);
  f.judge.places = places_create();
  permit(&f, &p.key, 1000, NO_THRESHOLD);
  struct places *places = &f.judge.places[7];
  p.place = 1;
  judge_at(&f, &p, NOW);
  CHECK_EQUAL(places->place[0].bytes, 0);
  struct entry *entry = entry_of(&f, &p.key);
  atomic_fetch_or(&entry->raised, 7u << TRACED_SHIFT);
  judge_at(&f, &p, NOW);
  permit(&f, &p.key, 1000, NO_THRESHOLD); /* a refresh */
  p.place = 2;
  judge_at(&f, &p, NOW);
  judge_at(&f, &p, NOW);
  judge_failed(&f.judge, entry, &p);
  p.place = 0; /* of this host, or unknown */
  judge_at(&f, &p, NOW);
  CHECK_EQUAL(places->place[0].bytes, 100);
  CHECK_EQUAL(places->place[1].bytes, 200);
  CHECK_EQUAL(places->place[1].failed, 1);
  CHECK_EQUAL(places->place[2].name, 0);
  table_refuse(f.table, &p.key, table_hash(f.table, &p.key), LATER, 0);
  permit(&f, &p.key, 1000, NO_THRESHOLD);
  p.place = 1;
  judge_at(&f, &p, NOW);
  CHECK_EQUAL(places->place[0].bytes, 100);
  free(f.judge.places);
  tear_down(&f);
}

int main(void) {
  test_places();
  test_exact_cut();
  test_no_overflow();
  test_expiry();
  test_refusal();
  test_open();
  test_new_count();
  test_threshold();
  test_full_ring();
  test_not_enforced();
  test_segments();
  test_segments_of_a_smaller_link();
  return CHECK_RESULT();
}
