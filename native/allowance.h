/*
 * A token bucket for what may be done in vain, as one number: the time at which it would be full again. Any thread;
 * all zero is a full one.
 */
#ifndef PBS_ALLOWANCE_H
#define PBS_ALLOWANCE_H

#include <stdatomic.h>
#include <stdint.h>

/* `burst` at once, and one more each `interval` nanoseconds. */
struct allowance_rate {
  uint64_t interval;
  uint64_t burst;
};

struct allowance {
  _Atomic uint64_t full_at;
};

/* Whether there is any left. */
static inline int allowance_left(const struct allowance *a, const struct allowance_rate *rate, uint64_t now) {
  return atomic_load_explicit(&a->full_at, memory_order_relaxed) <= now + (rate->burst - 1) * rate->interval;
}

/* Takes one if there is any: it never owes, so that it is there again soon after. */
static inline void allowance_take(struct allowance *a, const struct allowance_rate *rate, uint64_t now) {
  uint64_t full_at = atomic_load_explicit(&a->full_at, memory_order_relaxed), next;
  do {
    if (full_at > now + (rate->burst - 1) * rate->interval) return;
    next = (full_at > now ? full_at : now) + rate->interval;
  } while (!atomic_compare_exchange_weak_explicit(&a->full_at, &full_at, next, memory_order_relaxed,
                                                  memory_order_relaxed));
}

#endif
