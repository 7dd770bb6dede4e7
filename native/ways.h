/*
 * What is known of the way to a destination, as far as its size matters to packets with AH: how large they may be there,
 * and whether the kernel has been told of less. Bounded; of one thread.
 */
#ifndef PBS_WAYS_H
#define PBS_WAYS_H

#include <stdint.h>

enum { WAYS_BUCKETS = 256, WAYS_DEEP = 4 };

struct way {
  uint8_t destination[16];
  uint8_t family;       /* 0: none */
  uint32_t limit;       /* bytes that a packet on the wire may have; UINT32_MAX: not known any more */
  uint64_t limit_until; /* monotonic nanoseconds */
  uint64_t told_until;  /* until then the kernel may believe in a smaller one */
};

struct ways {
  uint32_t used; /* 0: no destination was ever too narrow */
  struct way way[WAYS_BUCKETS][WAYS_DEEP];
};

/* NULL if nothing is known. */
struct way *ways_find(struct ways *ways, uint8_t family, const uint8_t destination[16], uint64_t now);

/*
 * A router said that packets to a destination may have `limit` bytes; a smaller limit stays. The destination that would be
 * forgotten first gives way. Known from way_tell on.
 */
struct way *ways_learn(struct ways *ways, uint8_t family, const uint8_t destination[16], uint32_t limit, uint64_t now);

/* The size that the kernel's packets may have for `room` bytes of AH; the least that it can be told if that is less. */
uint32_t way_room(const struct way *way, uint32_t room);

/* The kernel is told that size now. */
void way_tell(struct way *way, uint64_t now);

/* Whether packets stay too large although the kernel was told the least that it accepts. */
int way_is_too_narrow(const struct way *way, uint32_t room);

#endif
