#include "engine.h"

#include <errno.h>
#include <netinet/in.h>
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

static int open_worker(struct engine *e, const struct queue_options *o) {
  enum purpose purpose = o->purpose;
  struct worker *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
  if (!w) return -1;
  memset(w, 0, sizeof *w);
  e->worker[e->workers++] = w;
  w->engine = e;
  w->purpose = purpose;
  w->processor = o->processor;
  w->emitter = (struct emitter){.socket4 = -1, .socket6 = -1};
  w->reader = table_reader(e->table);
  enum queue_copy copy = purpose == PURPOSE_AUTHENTICATED ? QUEUE_COPY_ALL : QUEUE_COPY_HEADERS;
  if (queue_open(&w->queue, o->number, copy, queue_length(e, purpose)) < 0) return -1;
  if (verdicts_init(&w->verdicts, &w->queue, purpose != PURPOSE_HOLD, &w->counters) < 0) return -1;
  if (purpose == PURPOSE_AUTHENTICATED) {
    w->authenticator = authenticator_create();
    e->authenticator = w;
    if (!w->authenticator || emitter_open(&w->emitter) < 0) return -1;
  }
  if (purpose != PURPOSE_HOLD) return 0;
  e->holder = w;
  return verdicts_init(&e->release, &w->queue, 0, &e->counters);
}

static int open_workers(struct engine *e, const struct engine_options *o, struct engine_failure *failure) {
  for (uint32_t i = 0; i < o->queues; i++) {
    if (open_worker(e, &o->queue[i]) == 0) continue;
    failure->queue = o->queue[i].number;
    return -1;
  }
  return 0;
}

static int start_workers(struct engine *e, struct engine_failure *failure) {
  for (uint32_t i = 0; i < e->workers; i++) {
    errno = worker_start(e->worker[i]);
    if (!errno) continue;
    if (errno == EINVAL) failure->processor = e->worker[i]->processor;
    return -1;
  }
  return 0;
}

static int set_up(struct engine *e, const struct engine_options *o, void (*wake)(void *), void *context,
                  struct engine_failure *failure) {
  e->table = o->space.control ? table_create_in(&o->space, o->capacity, o->refusals)
                              : table_create(o->capacity, o->refusals);
  e->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (!e->table || e->stop_fd < 0 || events_init(&e->events, ENGINE_EVENTS, wake, context) < 0) return -1;
  if (protections_init(&e->protections, e->table, o->capacity) < 0) return -1;
  e->owns_places = o->space.places == NULL;
  e->places = e->owns_places ? places_create() : o->space.places;
  if (!e->places) return -1;
  e->judge = (struct judge){.table = e->table,
                            .protections = &e->protections,
                            .events = &e->events,
                            .places = e->places,
                            .enforce = o->enforce};
  if (hold_init(&e->hold, o->hold_packets, o->hold_per_flow, o->hold_time) < 0) return -1;
  if (o->sets[0][0][0] && kernel_sets_open(&e->sets, o->sets) < 0) return -1;
  if (open_workers(e, o, failure) < 0) return -1;
  return start_workers(e, failure);
}

struct engine *engine_open(const struct engine_options *o, void (*wake)(void *), void *context,
                           struct engine_failure *failure) {
  struct engine *e = aligned_alloc(64, (sizeof *e + 63) / 64 * 64);
  if (!e) return NULL;
  memset(e, 0, sizeof *e);
  e->stop_fd = -1;
  e->refuse_mark = o->refuse_mark;
  e->open_mark = o->open_mark;
  pthread_mutex_init(&e->hold_lock, NULL);
  *failure = (struct engine_failure){.queue = -1, .processor = ANY_PROCESSOR};
  if (set_up(e, o, wake, context, failure) == 0) return e;
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
    verdicts_destroy(&e->worker[i]->verdicts);
    authenticator_destroy(e->worker[i]->authenticator);
    emitter_close(&e->worker[i]->emitter);
    free(e->worker[i]);
  }
  verdicts_destroy(&e->release);
  protections_destroy(&e->protections);
  kernel_sets_close(&e->sets);
  hold_destroy(&e->hold);
  events_destroy(&e->events);
  if (e->owns_places) free(e->places);
  if (e->table) table_destroy(e->table);
  if (e->stop_fd >= 0) close(e->stop_fd);
  pthread_mutex_destroy(&e->hold_lock);
  free(e);
}

/* A flow that is neither permitted nor refused at this moment was so when its packet was judged: it is dropped. */
static void release_packet(struct engine *e, const struct held_packet *held, uint64_t hash, uint64_t now) {
  enum decision decision = judge_packet(&e->judge, &held->packet, hash, now, &e->counters);
  if (decision == DECIDE_REFUSE) counters_add(&e->counters, COUNTER_REFUSE, 1);
  if (decision == DECIDE_OPEN) counters_add(&e->counters, COUNTER_OPEN, 1);
  if (decision == DECIDE_UNKNOWN) counters_add(&e->counters, COUNTER_DROP_NO_PERMISSION, 1);
  if (decision == DECIDE_DEEP) worker_pass_on(&e->release, held->id, e->authenticator, &e->counters);
  else worker_apply(&e->release, e, &held->packet.key, hash, held->id, held->mark, decision);
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

static int is_refused(const struct entry *entry) {
  return (atomic_load_explicit(&entry->term, memory_order_relaxed) & TERM_REFUSED) != 0;
}

/* That of a refused flow was released with the refusal, and its number stands there for readers that came before. */
static uint32_t protection_number(const struct entry *entry) {
  return is_refused(entry) ? 0 : atomic_load_explicit(&entry->protection, memory_order_relaxed);
}

/* The number of the flow's protection once it is changed as wanted; 0: nothing is done about AH. */
static uint32_t protect(struct engine *e, const struct entry *entry, const struct authentication *wanted,
                        int *changed) {
  int is_new = !entry || is_refused(entry);
  uint32_t number = entry ? protection_number(entry) : 0;
  if (wanted->stays || (number == 0 && !wanted->association)) return number;
  if (number == 0) number = protections_take(&e->protections);
  /* A flow that had no permission had nothing that could still be on its way. */
  uint64_t until = is_new ? 0 : clock_now() + wanted->overlap;
  *changed = protections_change(&e->protections, number, wanted->association, until, wanted->overlap_bytes);
  return number;
}

static int permit(struct engine *e, const struct flow_key *key, uint64_t hash, struct permission permission,
                  const struct authentication *authentication, enum permit_result *result) {
  struct entry *entry = table_find(e->table, key, hash);
  if ((!entry || is_refused(entry)) && !table_has_room(e->table, 1)) {
    association_destroy(authentication->association);
    *result = PERMIT_FULL;
    return 0;
  }
  int changed = 0;
  permission.protection = protect(e, entry, authentication, &changed);
  if (permission.path) atomic_store(&e->steers, 1);
  *result = table_permit(e->table, key, hash, &permission);
  if (changed) table_find(e->table, key, hash)->set_added = 0;
  return e->holder ? release(e, key, hash) : 0;
}

/* The flow is changed under the lock, so that the packets held are out before the hold queue lets others pass. */
int engine_permit(struct engine *e, const struct flow_key *key, uint64_t hash, const struct permission *permission,
                  const struct authentication *authentication, enum permit_result *result) {
  pthread_mutex_lock(&e->hold_lock);
  int released = permit(e, key, hash, *permission, authentication, result);
  pthread_mutex_unlock(&e->hold_lock);
  return released;
}

/* To be called once no reader can find the protection any more by the entry. */
static void unprotect(struct engine *e, uint32_t number) {
  if (number != 0) protections_release(&e->protections, number);
}

void engine_remove(struct engine *e, const struct flow_key *key, uint64_t hash) {
  struct entry *entry = table_find(e->table, key, hash);
  uint32_t number = entry ? protection_number(entry) : 0;
  table_remove(e->table, key, hash);
  unprotect(e, number);
}

struct protection *engine_protection(const struct engine *e, const struct entry *entry) {
  uint32_t number = protection_number(entry);
  return number == 0 ? NULL : protections_at(&e->protections, number);
}

int engine_has_association(const struct engine *e, const struct flow_key *key, uint32_t spi,
                           enum ah_algorithm algorithm, enum protection_action action) {
  const struct entry *entry = table_find(e->table, key, table_hash(e->table, key));
  const struct protection *protection = entry ? engine_protection(e, entry) : NULL;
  const struct association *current = protection ? atomic_load(&protection->current) : NULL;
  return current && current->spi == spi && current->algorithm == algorithm && current->action == action;
}

void engine_steer(struct engine *e, const struct flow_key *key, uint8_t path) {
  struct entry *entry = table_find(e->table, key, table_hash(e->table, key));
  if (path) atomic_store(&e->steers, 1);
  if (entry) atomic_store_explicit(&entry->path, path, memory_order_relaxed);
}

int engine_trace(struct engine *e, const struct flow_key *key, uint32_t number) {
  struct entry *entry = table_find(e->table, key, table_hash(e->table, key));
  if (!entry || is_refused(entry)) return 0;
  if (number) places_clear(&e->places[number]);
  atomic_fetch_and(&entry->raised, (uint32_t)RAISED_EVENTS);
  atomic_fetch_or(&entry->raised, number << TRACED_SHIFT);
  return 1;
}

uint32_t engine_path_mark(const struct engine *e, const struct flow_key *key, uint64_t hash, uint32_t mark) {
  if (!atomic_load_explicit(&e->steers, memory_order_relaxed)) return 0;
  const struct entry *entry = table_find(e->table, key, hash);
  uint32_t path = entry ? atomic_load_explicit(&entry->path, memory_order_relaxed) : 0;
  return path ? (mark & ~PATH_MASK) | path << PATH_SHIFT : 0;
}

int engine_refuse(struct engine *e, const struct flow_key *key, uint64_t until, int open) {
  uint64_t hash = table_hash(e->table, key);
  pthread_mutex_lock(&e->hold_lock);
  struct entry *entry = table_find(e->table, key, hash);
  uint32_t number = entry ? protection_number(entry) : 0;
  table_refuse(e->table, key, hash, until, open);
  unprotect(e, number);
  int released = e->holder ? release(e, key, hash) : 0;
  pthread_mutex_unlock(&e->hold_lock);
  return released;
}

/* With AH, IPv4 packets are no longer of the flow's own protocol; IPv6 ones still are, behind the header. */
static int add_authenticated(struct engine *e, const struct entry *entry, const struct protection *protection) {
  const struct association *current = atomic_load(&protection->current);
  if (current && current->action == PROTECT_INSERT) return kernel_sets_add(&e->sets, SET_INSERT, &entry->key);
  int verifies = association_verifies(current) || association_verifies(atomic_load(&protection->previous));
  if (entry->key.family != 4 || !verifies) return 0;
  struct flow_key key = entry->key;
  key.protocol = IPPROTO_AH;
  key.source_port = key.destination_port = 0;
  return kernel_sets_add(&e->sets, SET_PERMITTED, &key);
}

int engine_add_to_set(struct engine *e, struct entry *entry, uint32_t now_seconds) {
  if (!e->sets.socket) return 0;
  if (entry->set_added != 0 && now_seconds - entry->set_added < SET_REFRESH_SECONDS) return 0;
  const struct protection *protection = engine_protection(e, entry);
  if (kernel_sets_add(&e->sets, SET_PERMITTED, &entry->key) < 0) return -1;
  if (kernel_sets_add(&e->sets, SET_KNOWN, &entry->key) < 0) return -1;
  if (protection && add_authenticated(e, entry, protection) < 0) return -1;
  entry->set_added = now_seconds;
  return 0;
}

void engine_tidy(struct engine *e, const struct entry *entry, uint64_t now) {
  uint32_t number = protection_number(entry);
  if (number != 0) protections_expire(&e->protections, number, now);
}

int engine_flush_sets(struct engine *e) { return kernel_sets_flush(&e->sets); }

uint64_t engine_counter(const struct engine *e, enum counter which) {
  uint64_t sum = counters_get(&e->counters, which) + counters_get(&e->forwarded, which);
  for (uint32_t i = 0; i < e->workers; i++) sum += counters_get(&e->worker[i]->counters, which);
  return sum;
}
