/* A table in memory that outlives it and that others read: what XDP programs and the next process rely on. */
#include <errno.h>
#include <stdlib.h>

#include "../table.h"
#include "check.h"

enum { CAPACITY = 1000, REFUSALS = 16, PROCESSORS = 2, MANY = 900 };

struct memory {
  struct table_space space;
  uint64_t buckets, entries;
};

static void *zeros(size_t count, size_t bytes) {
  void *p = aligned_alloc(64, count * bytes);
  return p ? memset(p, 0, count * bytes) : NULL;
}

static struct memory make_memory(void) {
  struct memory m = {0};
  table_sizes(CAPACITY, REFUSALS, &m.buckets, &m.entries);
  m.space = (struct table_space){.control = zeros(1, sizeof(struct table_control)),
                                 .index = zeros(m.buckets, sizeof(struct bucket)),
                                 .entries = zeros(m.entries, sizeof(struct entry)),
                                 .foreign = zeros(PROCESSORS, sizeof(struct reader_slot)),
                                 .foreign_count = PROCESSORS,
                                 .foreign_stride = sizeof(struct reader_slot)};
  for (int i = 0; i < PROCESSORS; i++) atomic_store(&m.space.foreign[i].epoch, READER_OUTSIDE);
  return m;
}

static void free_memory(struct memory *m) {
  free(m->space.control);
  free(m->space.index);
  free(m->space.entries);
  free(m->space.foreign);
}

static struct flow_key key_of(uint32_t n) {
  struct flow_key key;
  memset(&key, 0, sizeof key);
  memcpy(key.source, &n, sizeof n);
  key.family = 4;
  key.protocol = 17;
  return key;
}

static struct entry *find(struct table *t, uint32_t n) {
  struct flow_key key = key_of(n);
  return table_find(t, &key, table_hash(t, &key));
}

static enum permit_result permit(struct table *t, uint32_t n, uint32_t protection) {
  struct flow_key key = key_of(n);
  struct permission p = {.allowed = 1000, .expires = 1000, .notify_at = NO_THRESHOLD, .protection = protection};
  return table_permit(t, &key, table_hash(t, &key), &p);
}

static void refuse(struct table *t, uint32_t n) {
  struct flow_key key = key_of(n);
  table_refuse(t, &key, table_hash(t, &key), 500, 0);
}

static void drop(struct table *t, uint32_t n) {
  struct flow_key key = key_of(n);
  table_remove(t, &key, table_hash(t, &key));
}

static void test_the_next_process_goes_on(void) {
  struct memory m = make_memory();
  struct table *t = table_create_in(&m.space, CAPACITY, REFUSALS);
  int reader = table_reader(t);
  table_enter(t, reader); /* and its process ends there */
  for (uint32_t n = 0; n < MANY; n++) permit(t, n, 0);
  atomic_store(&find(t, 7)->bytes, 70);
  atomic_store(&find(t, 7)->raised, RAISED_THRESHOLD | 5 << TRACED_SHIFT);
  permit(t, MANY, 5);
  refuse(t, MANY + 1);
  drop(t, 3);
  table_destroy(t);

  t = table_create_in(&m.space, CAPACITY, REFUSALS);
  CHECK_EQUAL(table_permitted(t), MANY - 1);
  CHECK_EQUAL(atomic_load(&find(t, 7)->bytes), 70);
  CHECK_EQUAL(atomic_load(&find(t, 7)->raised), RAISED_THRESHOLD);
  CHECK(find(t, 3) == NULL);
  CHECK(find(t, MANY) == NULL);
  CHECK(find(t, MANY + 1) == NULL);
  CHECK(table_settled(t, table_ticket(t)));
  for (uint32_t n = 0; n < CAPACITY - (MANY - 1); n++) CHECK_EQUAL(permit(t, 5000 + n, 0), PERMIT_NEW);
  CHECK_EQUAL(permit(t, 9999, 0), PERMIT_FULL);
  for (uint32_t n = 0; n < MANY; n++) CHECK((find(t, n) == NULL) == (n == 3));
  table_destroy(t);
  free_memory(&m);
}

static void test_adopted_permissions_end(void) {
  struct memory m = make_memory();
  struct table *t = table_create_in(&m.space, CAPACITY, REFUSALS);
  for (uint32_t n = 0; n < 3; n++) permit(t, n, 0);
  atomic_store(&find(t, 2)->term, 5000);
  table_destroy(t);
  t = table_create_in(&m.space, CAPACITY, REFUSALS);
  permit(t, 0, 0);
  CHECK_EQUAL(table_drop_adopted(t, 0, (uint32_t)m.entries, 2000), 1);
  CHECK(find(t, 0) != NULL);
  CHECK(find(t, 1) == NULL);
  CHECK(find(t, 2) != NULL);
  CHECK_EQUAL(table_drop_adopted(t, 0, (uint32_t)m.entries, 6000), 0);
  CHECK_EQUAL(table_permitted(t), 1);
  table_destroy(t);
  free_memory(&m);
}

static void test_another_size_is_not_taken(void) {
  struct memory m = make_memory();
  table_destroy(table_create_in(&m.space, CAPACITY, REFUSALS));
  CHECK(table_create_in(&m.space, CAPACITY / 2, REFUSALS) == NULL);
  CHECK_EQUAL(errno, EINVAL);
  m.space.control->layout++;
  CHECK(table_create_in(&m.space, CAPACITY, REFUSALS) == NULL);
  free_memory(&m);
}

/* A crash between two steps of a change leaves entries without index, and words of the index without entries. */
static void test_leavings_are_cleared_away(void) {
  struct memory m = make_memory();
  struct table *t = table_create_in(&m.space, CAPACITY, REFUSALS);
  permit(t, 1, 0);
  struct entry *stray = &m.space.entries[m.entries - 1];
  stray->key = key_of(2);
  atomic_store(&stray->term, 1000);
  atomic_store(&m.space.index[5].word[6], (1ULL << 32) | (m.entries + 9));
  table_destroy(t);
  t = table_create_in(&m.space, CAPACITY, REFUSALS);
  CHECK_EQUAL(table_permitted(t), 1);
  CHECK_EQUAL(atomic_load(&stray->term), TERM_NONE);
  CHECK_EQUAL(atomic_load(&m.space.index[5].word[6]), WORD_FREE);
  CHECK(find(t, 1) != NULL);
  CHECK(find(t, 2) == NULL);
  table_destroy(t);
  free_memory(&m);
}

static void test_a_program_holds_what_it_found(void) {
  struct memory m = make_memory();
  struct table *t = table_create_in(&m.space, CAPACITY, REFUSALS);
  permit(t, 1, 0);
  atomic_store(&m.space.foreign[1].epoch, atomic_load(&m.space.control->epoch));
  drop(t, 1);
  uint64_t ticket = table_ticket(t);
  CHECK(!table_settled(t, ticket));
  atomic_store(&m.space.foreign[1].epoch, READER_OUTSIDE);
  CHECK(table_settled(t, ticket));
  table_destroy(t);
  free_memory(&m);
}

/* Most flows stand where a reader looks first. */
static void test_preferred_places(void) {
  struct memory m = make_memory();
  struct table *t = table_create_in(&m.space, CAPACITY, REFUSALS);
  int preferred = 0;
  for (uint32_t n = 0; n < CAPACITY; n++) permit(t, n, 0);
  for (uint32_t n = 0; n < CAPACITY; n++) {
    struct flow_key key = key_of(n);
    uint64_t hash = table_hash(t, &key);
    preferred += table_find(t, &key, hash) == &m.space.entries[preferred_entry(hash, (uint32_t)m.entries)];
  }
  CHECK(preferred > CAPACITY / 2);
  table_destroy(t);
  free_memory(&m);
}

int main(void) {
  test_the_next_process_goes_on();
  test_adopted_permissions_end();
  test_another_size_is_not_taken();
  test_leavings_are_cleared_away();
  test_a_program_holds_what_it_found();
  test_preferred_places();
  return CHECK_RESULT();
}
