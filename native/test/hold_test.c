#include "../hold.h"

#include "check.h"

static struct packet packet_of(uint16_t port) {
  struct packet p;
  memset(&p, 0, sizeof p);
  p.key.source_port = port;
  return p;
}

/* All flows fall into few buckets, so that chains are walked too. */
static uint64_t hash_of(uint16_t port) { return port % 3; }

static enum hold_result add(struct hold *h, uint16_t port, uint32_t id, uint64_t now) {
  struct packet p = packet_of(port);
  return hold_add(h, &p, hash_of(port), id, 7, now);
}

static uint32_t take(struct hold *h, uint16_t port) {
  struct packet p = packet_of(port);
  struct held_packet held;
  return hold_take(h, &p.key, hash_of(port), &held) ? held.id : 0;
}

static void test_order(void) {
  struct hold h;
  CHECK_EQUAL(hold_init(&h, 8, 4, 100), 0);
  CHECK_EQUAL(add(&h, 1, 10, 0), HOLD_FIRST);
  CHECK_EQUAL(add(&h, 2, 11, 0), HOLD_FIRST);
  CHECK_EQUAL(add(&h, 1, 12, 0), HOLD_MORE);
  CHECK_EQUAL(add(&h, 4, 13, 0), HOLD_FIRST);
  CHECK_EQUAL(take(&h, 1), 10);
  CHECK_EQUAL(take(&h, 1), 12);
  CHECK_EQUAL(take(&h, 1), 0);
  CHECK_EQUAL(add(&h, 1, 14, 0), HOLD_FIRST); /* asked for anew */
  CHECK_EQUAL(take(&h, 4), 13);
  CHECK_EQUAL(take(&h, 2), 11);
  CHECK_EQUAL(h.count, 1);
  hold_destroy(&h);
}

static void test_bounds(void) {
  struct hold h;
  CHECK_EQUAL(hold_init(&h, 4, 2, 100), 0);
  CHECK_EQUAL(add(&h, 1, 1, 0), HOLD_FIRST);
  CHECK_EQUAL(add(&h, 1, 2, 0), HOLD_MORE);
  CHECK_EQUAL(add(&h, 1, 3, 0), HOLD_FLOW_FULL);
  CHECK_EQUAL(add(&h, 2, 4, 0), HOLD_FIRST);
  CHECK_EQUAL(add(&h, 3, 5, 0), HOLD_FIRST);
  CHECK_EQUAL(add(&h, 4, 6, 0), HOLD_FULL);
  CHECK_EQUAL(take(&h, 2), 4);
  CHECK_EQUAL(add(&h, 4, 6, 0), HOLD_FIRST);
  hold_destroy(&h);
}

static void test_time(void) {
  struct hold h;
  struct held_packet held;
  CHECK_EQUAL(hold_init(&h, 4, 4, 100), 0);
  CHECK(hold_deadline(&h) == UINT64_MAX);
  CHECK_EQUAL(hold_take_overdue(&h, UINT64_MAX - 1, &held), 0);
  add(&h, 1, 1, 0);
  add(&h, 2, 2, 10);
  add(&h, 1, 3, 20);
  CHECK_EQUAL(hold_deadline(&h), 100);
  CHECK_EQUAL(hold_take_overdue(&h, 99, &held), 0);
  CHECK_EQUAL(hold_take_overdue(&h, 110, &held), 1);
  CHECK_EQUAL(held.id, 1);
  CHECK_EQUAL(held.mark, 7);
  CHECK_EQUAL(hold_take_overdue(&h, 110, &held), 1);
  CHECK_EQUAL(held.id, 2);
  CHECK_EQUAL(hold_take_overdue(&h, 110, &held), 0);
  CHECK_EQUAL(take(&h, 1), 3);
  CHECK(hold_deadline(&h) == UINT64_MAX);
  hold_destroy(&h);
}

/* Any order of adding, taking and overdue keeps the counts right and loses nothing. */
static void test_churn(void) {
  struct hold h;
  struct held_packet held;
  uint32_t in = 0, out = 0, random = 1;
  CHECK_EQUAL(hold_init(&h, 64, 5, 50), 0);
  for (uint32_t i = 1; i < 200000; i++) {
    random = random * 1664525 + 1013904223;
    uint16_t port = (uint16_t)((random >> 16) % 20);
    if (random >> 31) in += add(&h, port, i, i) <= HOLD_MORE;
    else out += take(&h, port) != 0;
    while (hold_take_overdue(&h, i, &held)) out++;
    CHECK(h.count == in - out);
  }
  while (hold_take_overdue(&h, UINT64_MAX - 1, &held)) out++;
  CHECK_EQUAL(in, out);
  CHECK_EQUAL(h.count, 0);
  hold_destroy(&h);
}

int main(void) {
  test_order();
  test_bounds();
  test_time();
  test_churn();
  return CHECK_RESULT();
}
