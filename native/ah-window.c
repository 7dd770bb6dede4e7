/*
 * The window as a ring of blocks, each with its own number, so that no lock is needed: a block is taken over for higher
 * numbers by the same exchange that records the first of them, and two threads cannot both record one number.
 */
#include "ah.h"

enum { BLOCK_BITS = 32, BLOCKS = AH_WINDOW / BLOCK_BITS + 1 };

static int is_too_old(uint32_t top, uint32_t sequence) { return sequence < top && top - sequence >= AH_WINDOW; }

static uint64_t bit_of(uint32_t sequence) { return 1ULL << (sequence % BLOCK_BITS); }

/* Whether a block that stands for `state` has no record of the number and is not of higher numbers. */
static int is_open(uint64_t state, uint32_t sequence) {
  uint32_t number = sequence / BLOCK_BITS, held = (uint32_t)(state >> BLOCK_BITS);
  return held < number || (held == number && !(state & bit_of(sequence)));
}

int ah_window_check(const struct ah_window *window, uint32_t sequence) {
  uint32_t top = atomic_load_explicit(&window->top, memory_order_relaxed);
  if (sequence == 0 || is_too_old(top, sequence)) return 0;
  return is_open(atomic_load_explicit(&window->blocks[sequence / BLOCK_BITS % BLOCKS], memory_order_relaxed),
                 sequence);
}

static void raise_top(struct ah_window *window, uint32_t sequence) {
  uint32_t top = atomic_load_explicit(&window->top, memory_order_relaxed);
  while (top < sequence && !atomic_compare_exchange_weak_explicit(&window->top, &top, sequence, memory_order_relaxed,
                                                                  memory_order_relaxed));
}

int ah_window_accept(struct ah_window *window, uint32_t sequence) {
  if (sequence == 0 || is_too_old(atomic_load_explicit(&window->top, memory_order_relaxed), sequence)) return 0;
  uint32_t number = sequence / BLOCK_BITS;
  _Atomic uint64_t *block = &window->blocks[number % BLOCKS];
  uint64_t state = atomic_load_explicit(block, memory_order_relaxed), changed;
  do {
    if (!is_open(state, sequence)) return 0;
    uint64_t kept = (uint32_t)(state >> BLOCK_BITS) == number ? state : (uint64_t)number << BLOCK_BITS;
    changed = kept | bit_of(sequence);
  } while (!atomic_compare_exchange_weak_explicit(block, &state, changed, memory_order_relaxed, memory_order_relaxed));
  raise_top(window, sequence);
  return 1;
}
