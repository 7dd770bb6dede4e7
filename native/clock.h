#ifndef PBS_CLOCK_H
#define PBS_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NANOSECONDS_PER_MILLISECOND 1000000ULL
#define NANOSECONDS_PER_SECOND 1000000000ULL

/* Monotonic nanoseconds. Read once a batch of packets, never once a packet. */
static inline uint64_t clock_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)t.tv_nsec;
}

#endif
