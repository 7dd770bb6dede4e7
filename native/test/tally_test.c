/* Tallies against a plain array of all that was sent and came. */
#include "../tally.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../clock.h"
#include "check.h"

enum { NUMBERS = 200000, THREADS = 2, EACH = 20000 };

static uint16_t came[NUMBERS + 1];

static uint64_t plain_up_to(uint32_t sequence) {
  uint64_t sum = 0;
  for (uint32_t n = 1; n <= sequence; n++) sum += came[n];
  return sum;
}

static void receive(struct received_tally *t, uint32_t sequence, uint16_t length) {
  came[sequence] = length;
  received_tally_add(t, sequence, length);
}

/* Where a number is known, it is known to the byte. */
static int compare(struct received_tally *t, uint32_t sequence) {
  uint64_t bytes = 0;
  if (!received_tally_up_to(t, sequence, &bytes)) return 0;
  CHECK_EQUAL(bytes, plain_up_to(sequence));
  return 1;
}

static void test_in_order(void) {
  static struct received_tally t;
  memset(came, 0, sizeof came);
  for (uint32_t n = 1; n <= 5000; n++) receive(&t, n, (uint16_t)(n % 1400 + 1));
  CHECK(compare(&t, 5000));
  CHECK(compare(&t, 4999));
  CHECK(compare(&t, 5000 - TALLY_RING));
  CHECK(!compare(&t, 5000 - TALLY_RING - 1));
  CHECK(compare(&t, 3 * TALLY_RING));
  CHECK(compare(&t, TALLY_RING));
  CHECK(compare(&t, 0));
  CHECK(compare(&t, 9000)); /* nothing came after 5000 */
  struct tally_mark mark = received_tally_mark(&t);
  CHECK_EQUAL(mark.sequence, 5000);
  CHECK_EQUAL(mark.bytes, plain_up_to(5000));
}

/* Loss, reordering within the window, and jumps of any size. */
static void test_disorder(unsigned seed) {
  static struct received_tally t;
  memset(&t, 0, sizeof t);
  memset(came, 0, sizeof came);
  srand(seed);
  uint32_t top = 0, known = 0;
  while (top < NUMBERS - 10000) {
    uint32_t next = top + 1 + (uint32_t)rand() % (rand() % 50 == 0 ? 5000 : 20);
    if (top > 0 && rand() % 3 == 0) next = top - (uint32_t)rand() % (top < TALLY_RING ? top : TALLY_RING);
    if (next == 0 || came[next]) continue;
    receive(&t, next, (uint16_t)(1 + rand() % 65535));
    if (next > top) top = next;
    if (rand() % 500 == 0)
      for (uint32_t round = 0; round <= top / TALLY_RING; round += 7) known += (uint32_t)compare(&t, round * TALLY_RING);
    if (rand() % 100 == 0) CHECK(compare(&t, top > TALLY_RING ? top - (uint32_t)rand() % TALLY_RING : top));
  }
  CHECK(known > 0);
  CHECK(compare(&t, top / TALLY_RING * TALLY_RING - 20 * TALLY_RING));
  CHECK(!compare(&t, top / TALLY_RING * TALLY_RING - 80 * TALLY_RING));
}

static void test_sent(void) {
  struct sent_tally t;
  memset(&t, 0, sizeof t);
  uint64_t now = NANOSECONDS_PER_SECOND;
  CHECK_EQUAL(sent_tally_mark(&t, now).sequence, 0);
  for (uint32_t n = 1; n <= 2000; n++) sent_tally_add(&t, n, 100, now);
  struct tally_mark fast = sent_tally_mark(&t, now + 1);
  CHECK_EQUAL(fast.sequence, 1024);
  CHECK_EQUAL(fast.bytes, 102400);
  struct tally_mark slow = sent_tally_mark(&t, now + NANOSECONDS_PER_SECOND);
  CHECK_EQUAL(slow.sequence, 2000);
  CHECK_EQUAL(slow.bytes, 200000);
  sent_tally_add(&t, 2100, 100, now); /* numbers between were used up by what did not pass */
  CHECK_EQUAL(sent_tally_mark(&t, now + 1).sequence, 2048);
  CHECK_EQUAL(sent_tally_mark(&t, now + 1).bytes, 200000);
}

struct racer {
  struct received_tally *tally;
  uint32_t first;
  pthread_t thread;
};

static void *race(void *argument) {
  struct racer *r = argument;
  for (uint32_t n = r->first; n <= THREADS * EACH; n += THREADS) received_tally_add(r->tally, n, 10);
  return NULL;
}

static void test_race(void) {
  static struct received_tally t;
  struct racer racers[THREADS];
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < THREADS; i++) {
    racers[i] = (struct racer){.tally = &t, .first = i + 1};
    pthread_create(&racers[i].thread, NULL, race, &racers[i]);
  }
  for (int i = 0; i < 1000; i++) received_tally_up_to(&t, received_tally_mark(&t).sequence, &bytes);
  for (int i = 0; i < THREADS; i++) pthread_join(racers[i].thread, NULL);
  CHECK_EQUAL(received_tally_mark(&t).bytes, THREADS * EACH * 10);
  CHECK(received_tally_up_to(&t, 20 * TALLY_RING, &bytes));
  CHECK_EQUAL(bytes, 20 * TALLY_RING * 10);
}

int main(void) {
  test_in_order();
  for (unsigned seed = 1; seed <= 5; seed++) test_disorder(seed);
  test_sent();
  test_race();
  return CHECK_RESULT();
}
