/* The thread of one queue. */
#ifndef PBS_WORKER_H
#define PBS_WORKER_H

#include "engine.h"

/* Starts the thread. 0, or an errno. */
int worker_start(struct worker *worker);

/* Waits for the thread's end, which engine->stopping and the stop descriptor bring about. */
void worker_join(struct worker *worker);

/* The verdict for a packet whose flow the table decides; DECIDE_UNKNOWN is not for here. */
void worker_apply(struct verdicts *verdicts, uint32_t id, uint32_t mark, uint32_t refuse_mark,
                  enum decision decision);

/* Hands a packet to another queue; without one it is dropped. */
void worker_pass_on(struct verdicts *verdicts, uint32_t id, const struct worker *to, struct counters *counters);

#endif
