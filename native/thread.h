/* Threads beside JavaScript's. */
#ifndef PBS_THREAD_H
#define PBS_THREAD_H

#include <pthread.h>

/* Wherever the kernel puts it. */
enum { ANY_PROCESSOR = -1 };

/*
 * Starts a thread that signals do not interrupt, named with at most 15 letters. It keeps to that processor. 0, or an
 * errno: EINVAL when there is no such processor, or this process is kept from it for good (cpusets).
 */
int thread_start(pthread_t *thread, void *(*run)(void *), void *argument, const char *name, int processor);

#endif
