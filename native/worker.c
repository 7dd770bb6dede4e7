#include "worker.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "thread.h"

/*
 * Packets come to a core in softirq, which outruns a thread of the same priority and then throws away what it has just
 * queued. A thread that comes first keeps the rate level under overload.
 */
enum { PERMITTED_NICENESS = -10 };

struct parsed {
  struct packet packet;
  uint64_t hash;
  enum packet_problem problem;
};

_Static_assert((int)AUTHENTICATE_BATCH >= (int)QUEUE_BATCH, "an outcome for each packet of a batch");

struct batch {
  struct queued queued[QUEUE_BATCH];
  struct parsed parsed[QUEUE_BATCH];
  int count;
};

/* The hook's rules see the packet again, this time with the mark of traffic without permission; never a third time. */
static void pass_open(struct verdicts *verdicts, const struct engine *e, uint32_t id, uint32_t mark) {
  int again = e->open_mark != 0 && (mark & e->open_mark) != e->open_mark;
  verdicts_add(verdicts, id, again ? NF_REPEAT : NF_DROP, again ? mark | e->open_mark : 0);
}

void worker_apply(struct verdicts *verdicts, const struct engine *e, const struct flow_key *key, uint64_t hash,
                  uint32_t id, uint32_t mark, enum decision decision) {
  if (decision == DECIDE_ACCEPT) verdicts_add(verdicts, id, NF_ACCEPT, engine_path_mark(e, key, hash, mark));
  else if (decision == DECIDE_REFUSE) verdicts_add(verdicts, id, NF_ACCEPT, mark | e->refuse_mark);
  else if (decision == DECIDE_OPEN) pass_open(verdicts, e, id, mark);
  else verdicts_add(verdicts, id, NF_DROP, 0);
}

void worker_pass_on(struct verdicts *verdicts, uint32_t id, const struct worker *to, struct counters *counters) {
  counters_add(counters, to ? COUNTER_REQUEUE : COUNTER_DROP_NO_PERMISSION, 1);
  verdicts_add(verdicts, id, to ? NF_QUEUE_NR(to->queue.number) : NF_DROP, 0);
}

static void drop(struct worker *w, const struct queued *queued, enum counter why) {
  counters_add(&w->counters, why, 1);
  verdicts_add(&w->verdicts, queued->id, NF_DROP, 0);
}

/* If nobody can be told of the flow, the packet cannot wait for an answer either. */
static int ask_for(struct worker *w, const struct parsed *parsed) {
  struct held_packet untold;
  if (events_push(&w->engine->events, EVENT_WANTED, &parsed->packet.key, 0)) return 1;
  hold_take(&w->engine->hold, &parsed->packet.key, parsed->hash, &untold);
  counters_add(&w->counters, COUNTER_EVENTS_LATE, 1);
  return 0;
}

static void hold_packet(struct worker *w, const struct queued *queued, const struct parsed *parsed, uint64_t now) {
  struct hold *hold = &w->engine->hold;
  switch (hold_add(hold, &parsed->packet, parsed->hash, queued->id, queued->mark, now)) {
    case HOLD_FIRST:
      if (ask_for(w, parsed)) break;
      drop(w, queued, COUNTER_DROP_HOLD_FULL);
      return;
    case HOLD_MORE:
      break;
    case HOLD_FLOW_FULL:
      drop(w, queued, COUNTER_DROP_HOLD_FLOW_FULL);
      return;
    case HOLD_FULL:
      drop(w, queued, COUNTER_DROP_HOLD_FULL);
      return;
  }
  counters_add(&w->counters, COUNTER_HOLD, 1);
}

/* In an open network another flow may share the kernel set's element with a permitted one. */
static void without_permission(struct worker *w, const struct queued *queued) {
  if (w->engine->open_mark == 0) {
    drop(w, queued, COUNTER_DROP_NO_PERMISSION);
    return;
  }
  counters_add(&w->counters, COUNTER_OPEN, 1);
  pass_open(&w->verdicts, w->engine, queued->id, queued->mark);
}

/*
 * Only at the sending host may a packet wait. The kernel sets know no source port, so a new flow beside a permitted one
 * comes to the permitted queue, and is passed on to the queue for holding. Beside one with AH it goes through the rules
 * once more, for what comes behind AH there: an exempt class may be for it.
 */
static void unknown(struct worker *w, const struct queued *queued, const struct parsed *parsed, uint64_t now) {
  if (queued->hook != NF_INET_LOCAL_OUT || !w->engine->holder) {
    without_permission(w, queued);
    return;
  }
  if (w->purpose == PURPOSE_HOLD) {
    hold_packet(w, queued, parsed, now);
    return;
  }
  if (w->purpose == PURPOSE_AUTHENTICATED && !(queued->mark & ASIDE_MARK)) {
    verdicts_add(&w->verdicts, queued->id, NF_REPEAT, queued->mark | ASIDE_MARK);
    return;
  }
  worker_pass_on(&w->verdicts, queued->id, w->engine->holder, &w->counters);
}

/* 0: the link does not take it, and it is to go on where it is: there the kernel says what it does take. */
static int emit(struct worker *w, const struct outcome *outcome, uint32_t mark) {
  int sent = emitter_send(&w->emitter, outcome->bytes, outcome->length, outcome->emit, mark) == 0;
  if (!sent && errno == EMSGSIZE) return 0;
  counters_add(&w->counters, sent ? COUNTER_AH_EMITTED : COUNTER_DROP_AH_NOT_SENT, 1);
  return 1;
}

/* What the judge decided becomes a verdict. `bytes` go on in the packet's place unless they are NULL. */
static void dispose(struct worker *w, const struct queued *queued, const struct parsed *parsed,
                    const struct outcome *outcome, uint64_t now) {
  switch (outcome->decision) {
    case DECIDE_UNKNOWN:
      unknown(w, queued, parsed, now);
      return;
    case DECIDE_DEEP:
      worker_pass_on(&w->verdicts, queued->id, w->engine->authenticator, &w->counters);
      return;
    case DECIDE_REFUSE:
      if (queued->hook != NF_INET_LOCAL_OUT) {
        drop(w, queued, COUNTER_DROP_NO_PERMISSION);
        return;
      }
      counters_add(&w->counters, COUNTER_REFUSE, 1);
      break;
    case DECIDE_OPEN:
      counters_add(&w->counters, COUNTER_OPEN, 1);
      break;
    default:
      break;
  }
  const struct flow_key *key = &parsed->packet.key;
  if (!outcome->bytes) {
    worker_apply(&w->verdicts, w->engine, key, parsed->hash, queued->id, queued->mark, outcome->decision);
    return;
  }
  uint32_t mark = engine_path_mark(w->engine, key, parsed->hash, queued->mark);
  if (outcome->emit && emit(w, outcome, mark ? mark : queued->mark)) {
    verdicts_add(&w->verdicts, queued->id, NF_DROP, 0);
    return;
  }
  verdicts_add_changed(&w->verdicts, queued->id, mark, outcome->bytes, outcome->length);
}

/* From headers alone. */
static void judge_one(struct worker *w, const struct queued *queued, const struct parsed *parsed, uint64_t now) {
  if (parsed->problem != PACKET_FINE) {
    drop(w, queued, judge_problem(parsed->problem));
    return;
  }
  struct outcome outcome = {
      .decision = judge_packet(&w->engine->judge, &parsed->packet, parsed->hash, now, &w->counters)};
  dispose(w, queued, parsed, &outcome, now);
}

static int is_message(const struct queued *queued, const struct parsed *parsed) {
  return queued->hook == NF_INET_LOCAL_IN && parsed->problem == PACKET_NOT_A_FLOW && queued->captured == queued->full;
}

static void dispose_message(struct worker *w, const struct queued *queued, const struct outcome *outcome) {
  if (outcome->decision != DECIDE_ACCEPT) verdicts_add(&w->verdicts, queued->id, NF_DROP, 0);
  else if (outcome->bytes) verdicts_add_changed(&w->verdicts, queued->id, 0, outcome->bytes, outcome->length);
  else verdicts_add(&w->verdicts, queued->id, NF_ACCEPT, 0);
}

/* With every byte at hand. Verdicts go out in the order of the packets, once all outcomes stand. */
static void authenticate_all(struct worker *w, struct batch *batch, uint64_t now) {
  for (int i = 0; i < batch->count; i++) {
    const struct parsed *p = &batch->parsed[i];
    const struct queued *q = &batch->queued[i];
    if (is_message(q, p))
      authenticate_message(w->authenticator, &w->engine->judge, i, q->bytes, q->captured, now, &w->counters);
    if (p->problem != PACKET_FINE) continue;
    authenticate(w->authenticator, &w->engine->judge, i, &p->packet, (uint8_t *)batch->queued[i].bytes,
                 batch->queued[i].captured, p->hash, now, &w->counters);
  }
  authenticator_finish(w->authenticator, &w->counters);
  for (int i = 0; i < batch->count; i++) {
    const struct parsed *p = &batch->parsed[i];
    struct outcome outcome = authenticator_outcome(w->authenticator, i);
    if (is_message(&batch->queued[i], p)) {
      dispose_message(w, &batch->queued[i], &outcome);
      continue;
    }
    if (p->problem != PACKET_FINE) {
      drop(w, &batch->queued[i], judge_problem(p->problem));
      continue;
    }
    dispose(w, &batch->queued[i], p, &outcome, now);
  }
}

/* Three passes, so that the cache misses of a whole batch overlap. */
static void judge_batch(struct worker *w, struct batch *batch) {
  struct table *table = w->engine->table;
  for (int i = 0; i < batch->count; i++) {
    const struct queued *q = &batch->queued[i];
    struct parsed *p = &batch->parsed[i];
    p->problem = packet_parse(&p->packet, q->bytes, q->captured, q->full, q->offloaded);
    if (p->problem != PACKET_FINE) continue;
    if (q->interface) p->packet.place = place_of(q->interface, q->address);
    p->hash = table_hash(table, &p->packet.key);
    table_prefetch_index(table, p->hash);
  }
  for (int i = 0; i < batch->count; i++)
    if (batch->parsed[i].problem == PACKET_FINE) table_prefetch_entry(table, batch->parsed[i].hash);
  uint64_t now = clock_now();
  if (w->purpose == PURPOSE_AUTHENTICATED) {
    authenticate_all(w, batch, now);
    return;
  }
  for (int i = 0; i < batch->count; i++) judge_one(w, &batch->queued[i], &batch->parsed[i], now);
}

/* The table is left only when the verdicts are out: who waits for the ticket knows that no packet follows. */
static int permitted_batch(struct worker *w, struct batch *batch) {
  table_enter(w->engine->table, w->reader);
  judge_batch(w, batch);
  int result = verdicts_flush(&w->verdicts);
  table_leave(w->engine->table, w->reader);
  return result;
}

static void drop_overdue(struct worker *w) {
  struct held_packet held;
  uint64_t now = clock_now();
  while (hold_take_overdue(&w->engine->hold, now, &held)) {
    counters_add(&w->counters, COUNTER_DROP_HOLD_TIMEOUT, 1);
    verdicts_add(&w->verdicts, held.id, NF_DROP, 0);
  }
}

/* The lock is kept until the verdicts are out, so that no later packet of a flow overtakes those released. */
static int hold_batch(struct worker *w, struct batch *batch, uint64_t *deadline) {
  pthread_mutex_lock(&w->engine->hold_lock);
  drop_overdue(w);
  int result = permitted_batch(w, batch);
  *deadline = hold_deadline(&w->engine->hold);
  pthread_mutex_unlock(&w->engine->hold_lock);
  return result;
}

/* Waits for packets, the end, or the deadline of the oldest held packet. */
static void wait_for_work(struct worker *w, uint64_t deadline) {
  struct pollfd fds[2] = {{.fd = queue_fd(&w->queue), .events = POLLIN}, {.fd = w->engine->stop_fd, .events = POLLIN}};
  uint64_t now = clock_now();
  struct timespec timeout = {0};
  if (deadline != UINT64_MAX && deadline > now) {
    timeout.tv_sec = (time_t)((deadline - now) / NANOSECONDS_PER_SECOND);
    timeout.tv_nsec = (long)((deadline - now) % NANOSECONDS_PER_SECOND);
  }
  ppoll(fds, 2, deadline == UINT64_MAX ? NULL : &timeout, NULL);
}

static int work(struct worker *w, struct batch *batch) {
  uint64_t deadline = UINT64_MAX;
  while (!atomic_load_explicit(&w->engine->stopping, memory_order_relaxed)) {
    batch->count = queue_receive(&w->queue, batch->queued, &w->counters);
    if (batch->count < 0) return errno;
    if (w->purpose == PURPOSE_HOLD) {
      if (hold_batch(w, batch, &deadline) < 0) return errno;
    } else if (batch->count > 0 && permitted_batch(w, batch) < 0) {
      return errno;
    }
    if (batch->count == 0) wait_for_work(w, deadline);
  }
  return 0;
}

/* When a queue breaks its thread ends and, the queue having no listener any more, the kernel drops. */
static void fail(struct worker *w, int error) {
  static const struct flow_key no_flow;
  pthread_mutex_lock(&w->engine->hold_lock);
  queue_close(&w->queue);
  pthread_mutex_unlock(&w->engine->hold_lock);
  events_push(&w->engine->events, EVENT_QUEUE_FAILED, &no_flow, (uint64_t)error);
}

static void *run(void *argument) {
  struct worker *w = argument;
  if (w->purpose != PURPOSE_HOLD) setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), PERMITTED_NICENESS);
  struct batch *batch = calloc(1, sizeof *batch);
  int error = batch ? work(w, batch) : ENOMEM;
  free(batch);
  if (error) fail(w, error);
  return NULL;
}

static const char *const thread_names[] = {"pbs-permitted", "pbs-hold", "pbs-ah"};

int worker_start(struct worker *w) {
  int error = thread_start(&w->thread, run, w, thread_names[w->purpose], w->processor);
  w->started = error == 0;
  return error;
}

void worker_join(struct worker *w) {
  if (w->started) pthread_join(w->thread, NULL);
  w->started = 0;
}
