#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "worker.h"

enum {
  /* More would only be latency, and colder caches: beyond this the rate falls. */
  QUEUE_LENGTH = 2048,
  /* Elements of the sets live 600 s. What is added anew after 200 s never runs out while it is looked after. */
  SET_REFRESH_SECONDS = 200,
};

static uint32_t queue_length(const struct engine *e, enum purpose purpose) {
  return purpose == PURPOSE_HOLD ? QUEUE_LENGTH + e->hold.capacity : QUEUE_LENGTH;
}

static int open_worker(struct engine *e, uint16_t number, enum purpose purpose) {
  struct worker *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
  if (!w) return -1;
  memset(w, 0, sizeof *w);
  e->worker[e->workers++] = w;
  w->engine = e;
  w->purpose = purpose;
  w->reader = table_reader(e->table);
  if (queue_open(&w->queue, number, queue_length(e, purpose)) < 0) return -1;
  verdicts_init(&w->verdicts, &w->queue, purpose == PURPOSE_PERMITTED, &w->counters);
  if (purpose != PURPOSE_HOLD) return 0;
  e->holder = w;
  verdicts_init(&e->release, &w->queue, 0, &e->counters);
  return 0;
}

static int open_workers(struct engine *e, const struct engine_options *o, int *failed_queue) {
  for (uint32_t i = 0; i < o->queues; i++) {
    if (open_worker(e, o->queue[i].number, o->queue[i].purpose) == 0) continue;
    *failed_queue = o->queue[i].number;
    return -1;
  }
  return 0;
}

static int start_workers(struct engine *e) {
  for (uint32_t i = 0; i < e->workers; i++) {
    errno = worker_start(e->worker[i]);
    if (errno) return -1;
  }
  return 0;
}

static int set_up(struct engine *e, const struct engine_options *o, void (*wake)(void *), void *context,
                  int *failed_queue) {
  e->table = table_create(o->capacity, o->refusals);
  e->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (!e->table || e->stop_fd < 0 || events_init(&e->events, ENGINE_EVENTS, wake, context) < 0) return -1;
  e->judge = (struct judge){.table = e->table, .events = &e->events, .enforce = o->enforce};
  if (hold_init(&e->hold, o->hold_packets, o->hold_per_flow, o->hold_time) < 0) return -1;
  if (o->sets.set4[0] && kernel_sets_open(&e->sets, &o->sets) < 0) return -1;
  if (open_workers(e, o, failed_queue) < 0) return -1;
  return start_workers(e);
}

struct engine *engine_open(const struct engine_options *o, void (*wake)(void *), void *context, int *failed_queue) {
  struct engine *e = aligned_alloc(64, (sizeof *e + 63) / 64 * 64);
  if (!e) return NULL;
  memset(e, 0, sizeof *e);
  e->stop_fd = -1;
  e->refuse_mark = o->refuse_mark;
  pthread_mutex_init(&e->hold_lock, NULL);
  *failed_queue = -1;
  if (set_up(e, o, wake, context, failed_queue) == 0) return e;
  int error = errno;
  engine_close(e);
  errno = error;
  return NULL;
}

static void stop_workers(struct engine *e) {
  uint64_t one = 1;
  atomic_store(&e->stopping, 1);
  if (e->stop_fd >= 0 && write(e->stop_fd, &one, sizeof one) < 0) return; /* it counts to 2^64, so it cannot fail */
  for (uint32_t i = 0; i < e->workers; i++) worker_join(e->worker[i]);
}

void engine_close(struct engine *e) {
  stop_workers(e);
  for (uint32_t i = 0; i < e->workers; i++) {
    queue_close(&e->worker[i]->queue);
    free(e->worker[i]);
  }
  kernel_sets_close(&e->sets);
  hold_destroy(&e->hold);
  events_destroy(&e->events);
  if (e->table) table_destroy(e->table);
  if (e->stop_fd >= 0) close(e->stop_fd);
  pthread_mutex_destroy(&e->hold_lock);
  free(e);
}

/* A flow that is neither permitted nor refused at this moment was so when its packet was judged: it is dropped. */
static void release_packet(struct engine *e, const struct held_packet *held, uint64_t hash, uint64_t now) {
  enum decision decision = judge_packet(&e->judge, &held->packet, hash, now, &e->counters);
  if (decision == DECIDE_REFUSE) counters_add(&e->counters, COUNTER_REFUSE, 1);
  if (decision == DECIDE_UNKNOWN) counters_add(&e->counters, COUNTER_DROP_NO_PERMISSION, 1);
  worker_apply(&e->release, held->id, held->mark, e->refuse_mark, decision);
}

/* A queue that broke has been closed, and its packets with it. */
static int release(struct engine *e, const struct flow_key *key, uint64_t hash) {
  struct held_packet held;
  uint64_t now = clock_now();
  int any = 0;
  while (hold_take(&e->hold, key, hash, &held)) {
    any = 1;
    if (e->holder->queue.socket) release_packet(e, &held, hash, now);
  }
  return any && e->holder->queue.socket ? verdicts_flush(&e->release) : 0;
}

/* The flow is changed under the lock, so that the packets held are out before the hold queue lets others pass. */
int engine_permit(struct engine *e, const struct flow_key *key, const struct permission *permission,
                  enum permit_result *result) {
  uint64_t hash = table_hash(e->table, key);
  if (!e->holder) {
    *result = table_permit(e->table, key, hash, permission);
    return 0;
  }
  pthread_mutex_lock(&e->hold_lock);
  *result = table_permit(e->table, key, hash, permission);
  int released = *result == PERMIT_FULL ? 0 : release(e, key, hash);
  pthread_mutex_unlock(&e->hold_lock);
  return released;
}

int engine_refuse(struct engine *e, const struct flow_key *key, uint64_t until) {
  uint64_t hash = table_hash(e->table, key);
  pthread_mutex_lock(&e->hold_lock);
  table_refuse(e->table, key, hash, until);
  int released = e->holder ? release(e, key, hash) : 0;
  pthread_mutex_unlock(&e->hold_lock);
  return released;
}

int engine_add_to_set(struct engine *e, struct entry *entry, uint32_t now_seconds) {
  if (!e->sets.socket) return 0;
  if (entry->set_added != 0 && now_seconds - entry->set_added < SET_REFRESH_SECONDS) return 0;
  if (kernel_sets_add(&e->sets, &entry->key) < 0) return -1;
  entry->set_added = now_seconds;
  return 0;
}

int engine_flush_sets(struct engine *e) { return kernel_sets_flush(&e->sets); }

uint64_t engine_counter(const struct engine *e, enum counter which) {
  uint64_t sum = counters_get(&e->counters, which);
  for (uint32_t i = 0; i < e->workers; i++) sum += counters_get(&e->worker[i]->counters, which);
  return sum;
}
