/*
 * The engine: one flow table, the queues with a thread each, the packets held, and the kernel sets. All functions here
 * are for the thread that changes the table.
 */
#ifndef PBS_ENGINE_H
#define PBS_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "authenticate.h"
#include "counters.h"
#include "emit.h"
#include "events.h"
#include "hold.h"
#include "ipset.h"
#include "judge.h"
#include "protection.h"
#include "queue.h"
#include "table.h"
#include "thread.h"

enum { ENGINE_QUEUES = 8, ENGINE_EVENTS = 8192 };

/* The number of a path in a packet's mark: src/base/marks.ts has it too. */
#define PATH_SHIFT 23
#define PATH_MASK 0x0f800000u

/* In the mark of packets that get no AH after all. As ASIDE_MARK in src/base/marks.ts. */
#define ASIDE_MARK 0x00100000u

enum purpose {
  PURPOSE_PERMITTED,
  PURPOSE_HOLD,
  PURPOSE_AUTHENTICATED, /* every byte of its packets is there, and may be changed */
};

struct engine;

struct worker {
  struct engine *engine;
  struct queue queue;
  struct verdicts verdicts;
  struct counters counters;
  pthread_t thread;
  int started;
  int processor; /* or ANY_PROCESSOR */
  int reader;
  enum purpose purpose;
  struct authenticator *authenticator; /* of the queue for authenticated packets, as is `emitter` */
  struct emitter emitter;
};

struct engine_options {
  uint32_t capacity;
  uint32_t refusals;
  int enforce;
  uint32_t refuse_mark;
  uint32_t open_mark; /* 0: the network is closed */
  uint32_t hold_packets;
  uint32_t hold_per_flow;
  uint64_t hold_time; /* nanoseconds */
  uint32_t queues;
  struct queue_options {
    uint16_t number;
    enum purpose purpose;
    int processor; /* that its thread keeps to, or ANY_PROCESSOR */
  } queue[ENGINE_QUEUES];
  kernel_set_names sets; /* empty: no kernel sets */
  struct table_space space; /* of the table; `control` NULL: memory of its own */
};

/* What is to be done about AH with packets of a flow; `association` NULL: packets have none, unless what is there stays. */
struct authentication {
  int stays;
  struct association *association;
  uint64_t overlap; /* nanoseconds */
  uint64_t overlap_bytes;
};

struct engine {
  struct table *table;
  struct protections protections;
  struct events events;
  struct judge judge;
  struct places *places;
  int owns_places;
  struct hold hold;
  pthread_mutex_t hold_lock; /* of hold, and of what is sent on the hold queue */
  struct worker *worker[ENGINE_QUEUES];
  struct worker *holder; /* the worker of the hold queue, or NULL */
  struct worker *authenticator; /* the worker of the queue for authenticated packets, or NULL */
  uint32_t workers;
  uint32_t refuse_mark;
  uint32_t open_mark;
  _Atomic int steers; /* some flow takes, or took, a path of its own */
  _Atomic int stopping;
  int stop_fd;
  struct kernel_sets sets;
  struct verdicts release;   /* verdicts of this thread on the hold queue */
  struct counters counters;  /* of this thread */
  struct counters forwarded; /* of the thread that forwards beside the stack: xdp-forward.h */
};

/* What did not work, as far as it is known: the queue that could not be bound, the processor that no thread can keep to. */
struct engine_failure {
  int queue; /* or -1 */
  int processor; /* or ANY_PROCESSOR */
};

/* NULL with errno. */
struct engine *engine_open(const struct engine_options *options, void (*wake)(void *), void *context,
                           struct engine_failure *failure);

/* Ends the threads, waits for them, and frees everything. What waits in the queues is dropped by the kernel. */
void engine_close(struct engine *engine);

/*
 * As table_permit; held packets of the flow are judged again and go, in their order. Takes the association over.
 * 0 or -1 with errno.
 */
int engine_permit(struct engine *engine, const struct flow_key *key, uint64_t hash,
                  const struct permission *permission, const struct authentication *authentication,
                  enum permit_result *result);

/*
 * Whether the flow has that association already, so that its key need not be prepared again. A signature's takes
 * up to half a millisecond.
 */
int engine_has_association(const struct engine *engine, const struct flow_key *key, uint32_t spi,
                           enum ah_algorithm algorithm, enum protection_action action);

/* As table_remove. */
void engine_remove(struct engine *engine, const struct flow_key *key, uint64_t hash);

/* What is done about AH with packets of the entry; NULL: nothing. */
struct protection *engine_protection(const struct engine *engine, const struct entry *entry);

/*
 * As table_refuse; held packets of the flow go on with the mark that has them rejected or, when `open`, with that of
 * traffic without permission. 0 or -1 with errno.
 */
int engine_refuse(struct engine *engine, const struct flow_key *key, uint64_t until, int open);

/* Packets of the flow take this path (0: the routing table's) from now on, if it is in the table. */
void engine_steer(struct engine *engine, const struct flow_key *key, uint8_t path);

/*
 * Counts where packets of the flow come in from now on, under this number (1 to PLACES_FLOWS; 0: no longer), until it is
 * removed or refused. Whoever gives a number again has waited until no reader has the flow that had it. 0 if the flow
 * has no permission.
 */
int engine_trace(struct engine *engine, const struct flow_key *key, uint32_t number);

/* The mark that has a packet take its flow's path, in place of `mark`; 0: it need not change. Any thread within a reader's bounds. */
uint32_t engine_path_mark(const struct engine *engine, const struct flow_key *key, uint64_t hash, uint32_t mark);

/* Gives up the key that the entry's overlap needs no more. To be called now and then. */
void engine_tidy(struct engine *engine, const struct entry *entry, uint64_t now);

/* Adds the flow to its kernel set's batch unless that was done a short while ago. 0 or -1 with errno. */
int engine_add_to_set(struct engine *engine, struct entry *entry, uint32_t now_seconds);

/* Sends what is in the batches. When it returns 0 all are in the sets. */
int engine_flush_sets(struct engine *engine);

/* Sum over all threads. */
uint64_t engine_counter(const struct engine *engine, enum counter which);

#endif
