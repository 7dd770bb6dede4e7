/* Packets by verdict and reason. Each thread counts in a block of its own; the sum is taken when somebody asks. */
#ifndef PBS_COUNTERS_H
#define PBS_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* The names are what people and JavaScript see. */
#define COUNTERS(X)                              \
  X(ACCEPT, "accept")                            \
  X(ACCEPT_OVER_VOLUME, "accept.over-volume")    \
  X(REFUSE, "refuse")                            \
  X(OPEN, "open")                                \
  X(HOLD, "hold")                                \
  X(REQUEUE, "requeue")                          \
  X(DROP_NO_PERMISSION, "drop.no-permission")    \
  X(DROP_EXPIRED, "drop.expired")                \
  X(DROP_OVER_VOLUME, "drop.over-volume")        \
  X(DROP_MALFORMED, "drop.malformed")            \
  X(DROP_HEADERS_TOO_LONG, "drop.headers-too-long") \
  X(DROP_FRAGMENT, "drop.fragment")              \
  X(DROP_NOT_A_FLOW, "drop.not-a-flow")          \
  X(DROP_AH_MISSING, "drop.ah-missing")          \
  X(DROP_AH_MALFORMED, "drop.ah-malformed")      \
  X(DROP_AH_SPI, "drop.ah-unknown-spi")          \
  X(DROP_AH_REPLAYED, "drop.ah-replayed")        \
  X(DROP_AH_ICV, "drop.ah-bad-icv")              \
  X(DROP_AH_BUSY, "drop.ah-busy")                \
  X(DROP_AH_NO_SEQUENCE, "drop.ah-no-sequence")  \
  X(DROP_AH_TOO_LONG, "drop.ah-too-long")        \
  X(AH_INSERTED, "ah.inserted")                  \
  X(DROP_AH_NOT_SENT, "drop.ah-not-sent")        \
  X(AH_VERIFIED, "ah.verified")                  \
  X(AH_EMITTED, "ah.emitted")                    \
  X(TOO_BIG_TOLD, "too-big.told")                \
  X(TOO_BIG_LOCAL, "too-big.local")              \
  X(TOO_BIG_OTHER, "too-big.other")              \
  X(DROP_TOO_BIG_MALFORMED, "drop.too-big-malformed") \
  X(DROP_TOO_BIG_IMPLAUSIBLE, "drop.too-big-implausible") \
  X(DROP_TOO_BIG_RATE, "drop.too-big-rate")      \
  X(DROP_HOLD_FLOW_FULL, "drop.hold-flow-full")  \
  X(DROP_HOLD_FULL, "drop.hold-full")            \
  X(DROP_HOLD_TIMEOUT, "drop.hold-timeout")      \
  X(DROP_SEND_FULL, "drop.send-full")            \
  X(EVENTS_LATE, "events.late")                  \
  X(QUEUE_GAPS, "queue.gaps")                    \
  X(QUEUE_ERRORS, "queue.errors")

enum counter {
#define COUNTER_ENUM(name, text) COUNTER_##name,
  COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
  COUNTER_COUNT
};

struct counters {
  _Alignas(64) _Atomic uint64_t packets; /* that came out of the queue */
  _Atomic uint64_t of[COUNTER_COUNT];
};

/* Only the thread that owns the block adds to it, so load and store are enough. */
static inline void counters_add(struct counters *counters, enum counter which, uint64_t count) {
  uint64_t value = atomic_load_explicit(&counters->of[which], memory_order_relaxed);
  atomic_store_explicit(&counters->of[which], value + count, memory_order_relaxed);
}

static inline void counters_add_packets(struct counters *counters, uint64_t count) {
  uint64_t value = atomic_load_explicit(&counters->packets, memory_order_relaxed);
  atomic_store_explicit(&counters->packets, value + count, memory_order_relaxed);
}

static inline uint64_t counters_get(const struct counters *counters, enum counter which) {
  return atomic_load_explicit(&counters->of[which], memory_order_relaxed);
}

#endif
