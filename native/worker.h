/* The thread of one queue. */
#ifndef PBS_WORKER_H
#define PBS_WORKER_H

#include "engine.h"

/* Starts the thread. 0, or an errno. */
int worker_start(struct worker *worker);

/* Waits for the thread's end, which engine->stopping and the stop descriptor bring about. */
void worker_join(struct worker *worker);

/* The verdict for a packet of this host whose flow the table decides; DECIDE_UNKNOWN and DECIDE_DEEP are not for here. */
void worker_apply(struct verdicts *verdicts, const struct engine *engine, const struct flow_key *key, uint64_t hash,
                  uint32_t id, uint32_t mark, enum decision decision);

/* Hands a packet to another queue; without one it is dropped. */
void worker_pass_on(struct verdicts *verdicts, uint32_t id, const struct worker *to, struct counters *counters);

#endif
