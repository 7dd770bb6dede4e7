#include "events.h"

#include <stdlib.h>

int events_init(struct events *e, uint32_t slots, void (*wake)(void *), void *context) {
  memset(e, 0, sizeof *e);
  e->ring = calloc(slots, sizeof *e->ring);
  if (!e->ring) return -1;
  e->slots = slots;
  e->wake = wake;
  e->context = context;
  pthread_mutex_init(&e->lock, NULL);
  return 0;
}

void events_destroy(struct events *e) {
  if (!e->ring) return;
  pthread_mutex_destroy(&e->lock);
  free(e->ring);
  e->ring = NULL;
}

int events_push(struct events *e, enum event_type type, const struct flow_key *key, uint64_t value) {
  pthread_mutex_lock(&e->lock);
  uint32_t before = e->count;
  int fits = before < e->slots;
  if (fits) {
    struct event *slot = &e->ring[(e->first + e->count++) % e->slots];
    *slot = (struct event){.key = *key, .value = value, .type = type};
  }
  pthread_mutex_unlock(&e->lock);
  if (before == 0 && e->wake) e->wake(e->context);
  return fits;
}

uint32_t events_take(struct events *e, struct event *out, uint32_t count) {
  uint32_t taken = 0;
  pthread_mutex_lock(&e->lock);
  while (taken < count && e->count > 0) {
    out[taken++] = e->ring[e->first];
    e->first = (e->first + 1) % e->slots;
    e->count--;
  }
  pthread_mutex_unlock(&e->lock);
  return taken;
}
