/* What the queue threads tell JavaScript: never a packet, only that something about a flow has changed. */
#ifndef PBS_EVENTS_H
#define PBS_EVENTS_H

#include <pthread.h>
#include <stdint.h>

#include "flow.h"

enum event_type {
  EVENT_WANTED,
  EVENT_THRESHOLD,
  EVENT_EXHAUSTED,
  EVENT_QUEUE_FAILED, /* `value` is the errno; the key is empty */
  EVENT_EVICTED = 5,  /* the table was full, and the flow gave way to another that was new */
  EVENT_REKEY = 4,    /* `value` is the SPI whose sequence numbers run out */
};

struct event {
  struct flow_key key;
  uint64_t value; /* counted bytes */
  enum event_type type;
};

/* A bounded ring. Whoever raises an event that does not fit tries again at the next packet. */
struct events {
  pthread_mutex_t lock;
  struct event *ring;
  uint32_t slots, first, count;
  void (*wake)(void *context); /* called when the ring was empty, under no lock */
  void *context;
};

/* 0, or -1 with errno. */
int events_init(struct events *events, uint32_t slots, void (*wake)(void *), void *context);
void events_destroy(struct events *events);

/* 0 if the ring is full. */
int events_push(struct events *events, enum event_type type, const struct flow_key *key, uint64_t value);

/* Takes up to `count` events, oldest first. */
uint32_t events_take(struct events *events, struct event *out, uint32_t count);

#endif
