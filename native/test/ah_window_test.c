#include "../ah.h"

#include <pthread.h>
#include <string.h>

#include "check.h"

enum { THREADS = 2, NUMBERS = 200000, NEAR = 64 };

static int accept_(struct ah_window *w, uint32_t sequence) {
  int open = ah_window_check(w, sequence), accepted = ah_window_accept(w, sequence);
  CHECK_EQUAL(open, accepted);
  return accepted;
}

static void test_order(void) {
  struct ah_window w;
  memset(&w, 0, sizeof w);
  CHECK(!accept_(&w, 0));
  for (uint32_t i = 1; i < 5000; i++) {
    CHECK(accept_(&w, i));
    CHECK(!accept_(&w, i));
    CHECK(!accept_(&w, i / 2));
  }
  CHECK_EQUAL(w.top, 4999);
}

static void test_edges(void) {
  struct ah_window w;
  memset(&w, 0, sizeof w);
  CHECK(accept_(&w, 100000));
  CHECK(!accept_(&w, 100000 - AH_WINDOW));
  CHECK(accept_(&w, 100000 - AH_WINDOW + 1));
  CHECK(!accept_(&w, 100000 - AH_WINDOW + 1));
  for (uint32_t i = 100000 - AH_WINDOW + 2; i < 100000; i++) CHECK(accept_(&w, i));
  for (uint32_t i = 1; i <= 100000; i += 13) CHECK(!accept_(&w, i));
  CHECK(accept_(&w, 100001));
}

/* The highest number is taken once and does not wrap; after it only what was left out. */
static void test_end(void) {
  struct ah_window w;
  memset(&w, 0, sizeof w);
  CHECK(accept_(&w, UINT32_MAX));
  CHECK(!accept_(&w, UINT32_MAX));
  CHECK(!accept_(&w, 0));
  CHECK(!accept_(&w, 1));
  CHECK(accept_(&w, UINT32_MAX - AH_WINDOW + 1));
  CHECK(!accept_(&w, UINT32_MAX - AH_WINDOW));
}

/* Against a list of all that was accepted. */
static void test_model(void) {
  static uint8_t seen[20000];
  struct ah_window w;
  uint32_t top = 0, state = 12345;
  memset(&w, 0, sizeof w);
  for (int i = 0; i < NUMBERS; i++) {
    state = state * 1664525u + 1013904223u;
    uint32_t middle = 1 + (uint32_t)((uint64_t)i * 18000 / NUMBERS), sequence = middle + (state >> 8) % 1500;
    int fresh = !seen[sequence] && (sequence > top || top - sequence < AH_WINDOW);
    CHECK_EQUAL(accept_(&w, sequence), fresh);
    if (!fresh) continue;
    seen[sequence] = 1;
    if (sequence > top) top = sequence;
  }
}

static struct ah_window shared;
static _Atomic uint8_t taken[NUMBERS + 1];

/* Every number is offered by every thread, near each other and out of order. */
static void *offer_all(void *from) {
  uint32_t shift = *(const uint32_t *)from;
  for (uint32_t i = 0; i < NUMBERS; i++) {
    uint32_t sequence = (i ^ (shift & (NEAR - 1))) + 1;
    if (sequence > NUMBERS) continue;
    if (!ah_window_check(&shared, sequence) || !ah_window_accept(&shared, sequence)) continue;
    atomic_fetch_add(&taken[sequence], 1);
  }
  return NULL;
}

static void test_threads(void) {
  pthread_t threads[THREADS];
  uint32_t shifts[THREADS] = {0, 37};
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, offer_all, &shifts[i]);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (uint32_t i = 1; i <= NUMBERS; i++) CHECK(taken[i] <= 1);
  CHECK_EQUAL(shared.top, NUMBERS);
}

static _Atomic uint64_t last_number;

static void test_numbers(void) {
  CHECK_EQUAL(ah_next_sequence(&last_number), 1);
  CHECK_EQUAL(ah_next_sequence(&last_number), 2);
  atomic_store(&last_number, UINT32_MAX - 1ull);
  CHECK_EQUAL(ah_next_sequence(&last_number), UINT32_MAX);
  for (int i = 0; i < 10; i++) CHECK_EQUAL(ah_next_sequence(&last_number), 0);
}

int main(void) {
  test_order();
  test_edges();
  test_end();
  test_model();
  test_threads();
  test_numbers();
  return CHECK_RESULT();
}
