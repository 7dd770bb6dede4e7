#include "../table.h"

#include "check.h"

enum { CAPACITY = 20000, REFUSALS = 64 };

static struct flow_key key_of(uint32_t n) {
  struct flow_key key;
  memset(&key, 0, sizeof key);
  memcpy(key.source, &n, sizeof n);
  key.family = 4;
  key.protocol = 17;
  return key;
}

static enum permit_result permit(struct table *t, uint32_t n, uint64_t allowed) {
  struct flow_key key = key_of(n);
  struct permission p = {.allowed = allowed, .expires = 1000, .notify_at = NO_THRESHOLD};
  return table_permit(t, &key, table_hash(t, &key), &p);
}

static struct entry *find(struct table *t, uint32_t n) {
  struct flow_key key = key_of(n);
  return table_find(t, &key, table_hash(t, &key));
}

static int drop(struct table *t, uint32_t n) {
  struct flow_key key = key_of(n);
  return table_remove(t, &key, table_hash(t, &key));
}

static void refuse(struct table *t, uint32_t n) {
  struct flow_key key = key_of(n);
  table_refuse(t, &key, table_hash(t, &key), 500, 0);
}

static void test_life_of_an_entry(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  CHECK(find(t, 1) == NULL);
  CHECK_EQUAL(permit(t, 1, 100), PERMIT_NEW);
  struct entry *entry = find(t, 1);
  CHECK(entry != NULL);
  atomic_store(&entry->bytes, 60);
  atomic_store(&entry->raised, RAISED_EXHAUSTED);
  CHECK_EQUAL(permit(t, 1, 200), PERMIT_CHANGED);
  CHECK_EQUAL(atomic_load(&entry->bytes), 60);
  CHECK_EQUAL(atomic_load(&entry->allowed), 200);
  CHECK_EQUAL(atomic_load(&entry->raised), 0);
  CHECK_EQUAL(drop(t, 1), 1);
  CHECK_EQUAL(drop(t, 1), 0);
  CHECK(find(t, 1) == NULL);
  CHECK_EQUAL(permit(t, 1, 100), PERMIT_NEW);
  CHECK_EQUAL(atomic_load(&find(t, 1)->bytes), 0);
  CHECK_EQUAL(table_permitted(t), 1);
  table_destroy(t);
}

static void test_counted_at_least(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  struct flow_key key = key_of(1);
  struct permission p = {.allowed = 100, .expires = 1000, .notify_at = NO_THRESHOLD, .counted_at_least = 40};
  table_permit(t, &key, table_hash(t, &key), &p);
  CHECK_EQUAL(atomic_load(&find(t, 1)->bytes), 40);
  p.counted_at_least = 30;
  table_permit(t, &key, table_hash(t, &key), &p);
  CHECK_EQUAL(atomic_load(&find(t, 1)->bytes), 40);
  table_destroy(t);
}

static void test_full(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  for (uint32_t i = 0; i < CAPACITY; i++) CHECK_EQUAL(permit(t, i, 1), PERMIT_NEW);
  CHECK(!table_has_room(t, 1));
  CHECK_EQUAL(permit(t, CAPACITY, 1), PERMIT_FULL);
  CHECK_EQUAL(permit(t, 5, 2), PERMIT_CHANGED);
  refuse(t, CAPACITY + 1); /* refusals have room of their own */
  CHECK(find(t, CAPACITY + 1) != NULL);
  CHECK_EQUAL(permit(t, CAPACITY + 1, 1), PERMIT_FULL);
  drop(t, 7);
  CHECK_EQUAL(permit(t, CAPACITY, 1), PERMIT_NEW);
  for (uint32_t i = 0; i <= CAPACITY; i++) CHECK((find(t, i) != NULL) == (i != 7));
  table_destroy(t);
}

static void test_refusals(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  for (uint32_t i = 0; i < REFUSALS * 3; i++) refuse(t, i);
  for (uint32_t i = 0; i < REFUSALS * 3; i++) CHECK((find(t, i) != NULL) == (i >= REFUSALS * 2));
  CHECK_EQUAL(table_permitted(t), 0);
  /* A refusal that became a permission is not pushed out by later refusals. */
  permit(t, REFUSALS * 2, 1);
  CHECK_EQUAL(table_permitted(t), 1);
  for (uint32_t i = 0; i < REFUSALS * 2; i++) refuse(t, 100000 + i);
  CHECK(find(t, REFUSALS * 2) != NULL);
  /* Back and forth, many times, with the ring full all the time. */
  for (uint32_t i = 0; i < REFUSALS * 4; i++) {
    permit(t, 7, 1);
    refuse(t, 7);
    CHECK(find(t, 7) != NULL);
  }
  CHECK_EQUAL(table_permitted(t), 1);
  table_destroy(t);
}

/* Removal waits for readers that may have found the entry, and only for them. */
static void test_readers(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  int first = table_reader(t), second = table_reader(t);
  permit(t, 1, 1);
  table_enter(t, first);
  drop(t, 1);
  uint64_t ticket = table_ticket(t);
  CHECK(!table_settled(t, ticket));
  table_enter(t, second); /* came later, found nothing */
  table_leave(t, first);
  CHECK(table_settled(t, ticket));
  table_leave(t, second);
  table_destroy(t);
}

/* While a reader may look at it, a removed entry keeps its key. */
static void test_no_early_reuse(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  int reader = table_reader(t);
  permit(t, 1, 1);
  table_enter(t, reader);
  struct entry *seen = find(t, 1);
  drop(t, 1);
  for (uint32_t i = 2; i < 1000; i++) permit(t, i, 1);
  struct flow_key key = key_of(1);
  CHECK(flow_key_equal(&seen->key, &key));
  table_leave(t, reader);
  table_destroy(t);
}

/* However long flows come and go at full capacity, all are found and memory does not grow. */
static void test_churn(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  for (uint32_t i = 0; i < CAPACITY; i++) permit(t, i, 1);
  uint32_t random = 1, next = CAPACITY;
  uint32_t live[CAPACITY];
  for (uint32_t i = 0; i < CAPACITY; i++) live[i] = i;
  for (uint32_t i = 0; i < CAPACITY * 20; i++) {
    random = random * 1664525 + 1013904223;
    uint32_t at = (random >> 8) % CAPACITY;
    CHECK_EQUAL(drop(t, live[at]), 1);
    live[at] = next++;
    CHECK_EQUAL(permit(t, live[at], 1), PERMIT_NEW);
  }
  for (uint32_t i = 0; i < CAPACITY; i++) CHECK(find(t, live[i]) != NULL);
  CHECK(find(t, next) == NULL);
  CHECK(table_used(t) <= CAPACITY + 8192);
  uint32_t cursor = 0, seen = 0;
  while (table_next_permitted(t, &cursor, UINT32_MAX)) seen++;
  CHECK_EQUAL(seen, CAPACITY);
  table_destroy(t);
}

static uint32_t unestablished(struct table *t, uint32_t count, uint32_t *first) {
  const struct entry *found[8];
  uint32_t n = table_unestablished(t, found, count);
  if (n > 0) memcpy(first, found[0]->key.source, sizeof *first);
  return n;
}

/* Who may give way: the oldest that was neither refreshed nor used, whatever became of those before it. */
static void test_unestablished(void) {
  struct table *t = table_create(CAPACITY, REFUSALS);
  uint32_t first = UINT32_MAX;
  CHECK_EQUAL(unestablished(t, 4, &first), 0);
  for (uint32_t i = 0; i < 5; i++) permit(t, i, 1);
  CHECK_EQUAL(unestablished(t, 8, &first), 5);
  CHECK_EQUAL(first, 0);
  drop(t, 0);
  permit(t, 1, 1); /* refreshed */
  atomic_store(&find(t, 2)->last, 1);
  CHECK_EQUAL(unestablished(t, 1, &first), 1);
  CHECK_EQUAL(first, 3);
  struct flow_key key = key_of(3);
  table_refuse(t, &key, table_hash(t, &key), 100, 0);
  CHECK_EQUAL(unestablished(t, 8, &first), 1);
  CHECK_EQUAL(first, 4);
  permit(t, 3, 1);
  permit(t, 0, 1);
  CHECK_EQUAL(unestablished(t, 8, &first), 3);
  table_refresh(t, find(t, 4));
  CHECK_EQUAL(unestablished(t, 1, &first), 1);
  CHECK_EQUAL(first, 3);
  table_destroy(t);
}

int main(void) {
  test_unestablished();
  test_life_of_an_entry();
  test_counted_at_least();
  test_full();
  test_refusals();
  test_readers();
  test_no_early_reuse();
  test_churn();
  return CHECK_RESULT();
}
