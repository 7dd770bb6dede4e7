#include "protection.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Protections that wait for readers to leave, on top of those in use. */
enum { RETIRED_SLACK = 4096 };

#define NOTHING UINT32_MAX

int protections_init(struct protections *p, struct table *table, uint32_t capacity) {
  memset(p, 0, sizeof *p);
  p->table = table;
  p->total = capacity + 1 + RETIRED_SLACK;
  p->unused = 1;
  p->free = p->retired_first = p->retired_last = NOTHING;
  p->retired_end = &p->retired_associations;
  void *all = mmap(NULL, (size_t)p->total * sizeof *p->all, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return -1;
  p->all = all;
  return 0;
}

struct association *association_create(uint32_t spi, enum ah_algorithm algorithm, enum protection_action action,
                                       struct ah_key *key) {
  struct association *a = spi < AH_SPI_FIRST ? NULL : aligned_alloc(64, (sizeof *a + 63) / 64 * 64);
  if (!a) {
    ah_key_destroy(key);
    errno = spi < AH_SPI_FIRST ? EINVAL : ENOMEM;
    return NULL;
  }
  memset(a, 0, sizeof *a);
  a->spi = spi;
  a->algorithm = algorithm;
  a->action = action;
  a->key = key;
  return a;
}

void association_destroy(struct association *a) {
  if (!a) return;
  ah_key_destroy(a->key);
  free(a);
}

static void destroy_all(struct association *a) {
  while (a) {
    struct association *next = a->next;
    association_destroy(a);
    a = next;
  }
}

void protections_destroy(struct protections *p) {
  if (!p->all) return;
  for (uint32_t i = 1; i < p->unused; i++) {
    association_destroy(atomic_load(&p->all[i].current));
    association_destroy(atomic_load(&p->all[i].previous));
  }
  destroy_all(p->retired_associations);
  munmap(p->all, (size_t)p->total * sizeof *p->all);
  p->all = NULL;
}

static void reclaim_associations(struct protections *p) {
  while (p->retired_associations && table_settled(p->table, p->retired_associations->stamp)) {
    struct association *a = p->retired_associations;
    p->retired_associations = a->next;
    if (!a->next) p->retired_end = &p->retired_associations;
    association_destroy(a);
  }
}

static void retire_association(struct protections *p, struct association *a) {
  if (!a) return;
  a->stamp = table_ticket(p->table);
  a->next = NULL;
  *p->retired_end = a;
  p->retired_end = &a->next;
}

static void reclaim(struct protections *p) {
  while (p->retired_first != NOTHING) {
    uint32_t number = p->retired_first;
    struct protection *one = &p->all[number];
    if (!table_settled(p->table, one->stamp)) return;
    p->retired_first = one->next;
    if (p->retired_first == NOTHING) p->retired_last = NOTHING;
    association_destroy(atomic_exchange(&one->current, NULL));
    association_destroy(atomic_exchange(&one->previous, NULL));
    one->next = p->free;
    p->free = number;
  }
}

void protections_reclaim(struct protections *p) {
  reclaim_associations(p);
  reclaim(p);
}

static uint32_t pop_free(struct protections *p) {
  uint32_t number = p->free;
  if (number == NOTHING) return p->unused < p->total ? p->unused++ : NOTHING;
  p->free = p->all[number].next;
  return number;
}

/* Waits only when thousands were released within one batch of a reader: there are more than the table has entries. */
uint32_t protections_take(struct protections *p) {
  if (p->free == NOTHING) reclaim(p);
  uint32_t number = pop_free(p);
  while (number == NOTHING) {
    sched_yield();
    reclaim(p);
    number = pop_free(p);
  }
  struct protection *one = &p->all[number];
  memset((void *)one, 0, sizeof *one);
  one->number = number;
  return number;
}

static int same_association(const struct association *a, const struct association *b) {
  if (!a || !b) return a == b;
  return a->spi == b->spi && a->algorithm == b->algorithm && a->action == b->action;
}

/*
 * The overlap is there before the association that begins it. One that comes back must not forget its sequence numbers:
 * a receiver would take all of its packets a second time, and a sender would give numbers out again.
 */
int protections_change(struct protections *p, uint32_t number, struct association *next, uint64_t overlap_until,
                       uint64_t overlap_bytes) {
  struct protection *one = &p->all[number];
  struct association *current = atomic_load(&one->current), *before = atomic_load(&one->previous);
  protections_reclaim(p);
  if (same_association(current, next)) {
    association_destroy(next);
    return 0;
  }
  int comes_back = before && same_association(before, next);
  if (comes_back) association_destroy(next);
  atomic_store(&one->previous, current);
  atomic_store(&one->overlap_left, overlap_bytes);
  atomic_store(&one->overlap_until, overlap_until);
  atomic_store(&one->current, comes_back ? before : next);
  if (!comes_back) retire_association(p, before);
  return 1;
}

/* Without its associations a reader inside would take the flow for one that needs none. */
void protections_release(struct protections *p, uint32_t number) {
  struct protection *one = &p->all[number];
  protections_reclaim(p);
  one->stamp = table_ticket(p->table);
  one->next = NOTHING;
  if (p->retired_last == NOTHING) p->retired_first = number;
  else p->all[p->retired_last].next = number;
  p->retired_last = number;
}

static int overlap_is_on(const struct protection *p, uint64_t now) {
  return now < atomic_load_explicit(&p->overlap_until, memory_order_acquire);
}

void protections_expire(struct protections *p, uint32_t number, uint64_t now) {
  struct protection *one = &p->all[number];
  if (overlap_is_on(one, now)) return;
  atomic_store(&one->overlap_left, 0); /* a reader's clock may be behind: without `previous` packets without AH would pass */
  retire_association(p, atomic_exchange(&one->previous, NULL));
}

static int take_overlap(struct protection *p, uint64_t length, uint64_t now) {
  if (!overlap_is_on(p, now)) return 0;
  uint64_t left = atomic_load_explicit(&p->overlap_left, memory_order_relaxed);
  do {
    if (length > left) return 0;
  } while (!atomic_compare_exchange_weak_explicit(&p->overlap_left, &left, left - length, memory_order_relaxed,
                                                  memory_order_relaxed));
  return 1;
}

enum screening protection_screen(struct protection *p, const struct packet *packet, uint64_t length, uint64_t now) {
  struct association *current = atomic_load(&p->current);
  struct association *previous = atomic_load(&p->previous);
  if (current && current->action == PROTECT_INSERT) return SCREEN_DEEP;
  if (packet->ah) return association_verifies(current) || association_verifies(previous) ? SCREEN_DEEP : SCREEN_PLAIN;
  if (!current) return SCREEN_PLAIN;
  /* Looked at again, for the bytes may be those of an overlap that has just begun. */
  int passes = !previous && take_overlap(p, length, now) && !atomic_load(&p->previous);
  return passes ? SCREEN_PLAIN : SCREEN_MISSING;
}

struct association *protection_find(struct protection *p, uint32_t spi, uint64_t now) {
  struct association *current = atomic_load(&p->current);
  if (association_verifies(current) && current->spi == spi) return current;
  struct association *previous = atomic_load(&p->previous);
  return association_verifies(previous) && previous->spi == spi && overlap_is_on(p, now) ? previous : NULL;
}

int protection_take_overlap(struct protection *p, const struct association *a, uint64_t length, uint64_t now) {
  return a == atomic_load(&p->current) || take_overlap(p, length, now);
}

struct tally_mark association_mark(struct association *a, uint64_t now) {
  return association_verifies(a) ? received_tally_mark(&a->received) : sent_tally_mark(&a->sent, now);
}

int protection_bytes_up_to(struct protection *p, uint32_t spi, uint32_t sequence, uint64_t *bytes) {
  struct association *a = atomic_load(&p->current);
  if (!a || a->spi != spi) a = atomic_load(&p->previous);
  if (!association_verifies(a) || a->spi != spi) return 0;
  return received_tally_up_to(&a->received, sequence, bytes);
}

void protection_failed(struct protection *p, enum protection_failure why) {
  atomic_fetch_add_explicit(&p->failures[why], 1, memory_order_relaxed);
}
