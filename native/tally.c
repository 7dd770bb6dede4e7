#include "tally.h"

#include <sched.h>

#include "clock.h"

/* At more than 1024 packets in this time the other side gets round numbers. */
#define FAST (100 * NANOSECONDS_PER_MILLISECOND)

static void lock(_Atomic uint8_t *word) {
  while (atomic_exchange_explicit(word, 1, memory_order_acquire)) sched_yield();
}

static void unlock(_Atomic uint8_t *word) { atomic_store_explicit(word, 0, memory_order_release); }

void sent_tally_add(struct sent_tally *t, uint32_t sequence, uint64_t length, uint64_t now) {
  lock(&t->lock);
  t->last.bytes += length;
  if (sequence > t->last.sequence) {
    if (sequence / TALLY_RING != t->last.sequence / TALLY_RING) {
      t->round.sequence = sequence / TALLY_RING * TALLY_RING;
      t->round.bytes = sequence == t->round.sequence ? t->last.bytes : t->last.bytes - length;
      t->round_at = now;
    }
    t->last.sequence = sequence;
  }
  unlock(&t->lock);
}

struct tally_mark sent_tally_mark(struct sent_tally *t, uint64_t now) {
  lock(&t->lock);
  int fast = t->round.sequence != 0 && now - t->round_at < FAST;
  struct tally_mark mark = fast ? t->round : t->last;
  unlock(&t->lock);
  return mark;
}

static uint32_t behind_of(uint32_t top) { return top > TALLY_RING ? top - TALLY_RING : 0; }

static void note_coarse(struct received_tally *t, uint32_t sequence) {
  t->coarse[sequence / TALLY_RING % TALLY_COARSE] = (struct tally_mark){sequence, t->behind};
}

/* Numbers that leave the ring take their bytes with them. */
static void leave_ring(struct received_tally *t, uint32_t from, uint32_t to) {
  for (uint32_t n = from; n < to && n - from < TALLY_RING; n++) {
    uint16_t *slot = &t->ring[(n + 1) % TALLY_RING];
    t->behind += *slot;
    *slot = 0;
    if ((n + 1) % TALLY_RING == 0) note_coarse(t, n + 1);
  }
  if (to - from <= TALLY_RING) return;
  /* Of the numbers passed over none came. */
  uint32_t round = to / TALLY_RING * TALLY_RING, most = TALLY_COARSE;
  for (; round > from + TALLY_RING && most > 0; round -= TALLY_RING, most--) note_coarse(t, round);
}

static void raise_top(struct received_tally *t, uint32_t sequence) {
  leave_ring(t, behind_of(t->top), behind_of(sequence));
  t->top = sequence;
}

/* Only of two threads can one be so late. */
static void add_behind(struct received_tally *t, uint32_t sequence, uint16_t length) {
  t->behind += length;
  for (int i = 0; i < TALLY_COARSE; i++)
    if (t->coarse[i].sequence >= sequence) t->coarse[i].bytes += length;
}

void received_tally_add(struct received_tally *t, uint32_t sequence, uint16_t length) {
  lock(&t->lock);
  t->bytes += length;
  if (sequence > t->top) raise_top(t, sequence);
  if (sequence <= behind_of(t->top)) add_behind(t, sequence, length);
  else t->ring[sequence % TALLY_RING] = length;
  unlock(&t->lock);
}

struct tally_mark received_tally_mark(struct received_tally *t) {
  lock(&t->lock);
  struct tally_mark mark = {t->top, t->bytes};
  unlock(&t->lock);
  return mark;
}

static uint64_t beyond(const struct received_tally *t, uint32_t sequence) {
  uint64_t sum = 0;
  for (uint32_t n = t->top; n > sequence; n--) sum += t->ring[n % TALLY_RING];
  return sum;
}

static int find_up_to(const struct received_tally *t, uint32_t sequence, uint64_t *bytes) {
  if (sequence >= behind_of(t->top)) {
    *bytes = t->bytes - beyond(t, sequence);
    return 1;
  }
  const struct tally_mark *coarse = &t->coarse[sequence / TALLY_RING % TALLY_COARSE];
  if (sequence != 0 && coarse->sequence != sequence) return 0;
  *bytes = sequence == 0 ? 0 : coarse->bytes;
  return 1;
}

int received_tally_up_to(struct received_tally *t, uint32_t sequence, uint64_t *bytes) {
  lock(&t->lock);
  int known = find_up_to(t, sequence, bytes);
  unlock(&t->lock);
  return known;
}
