/*
 * Bytes under one security association (RFC 4302), together with sequence numbers, so that what the sender says to have
 * sent up to a number can be compared with what arrived up to it, whatever was reordered or lost. Any thread; each
 * function takes a lock that is held for nanoseconds.
 */
#ifndef PBS_TALLY_H
#define PBS_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

#include "ah.h"

enum {
  TALLY_RING = AH_WINDOW, /* behind the highest number no packet comes any more */
  TALLY_COARSE = 64,      /* beyond the ring it is known for so many multiples of its size */
};

struct tally_mark {
  uint32_t sequence;
  uint64_t bytes; /* in packets up to it */
};

/* All zero: nothing yet. */
struct sent_tally {
  _Atomic uint8_t lock;
  struct tally_mark last;
  struct tally_mark round; /* at the last multiple of TALLY_RING */
  uint64_t round_at;       /* when it was passed, monotonic nanoseconds */
};

/* A packet was sent. Numbers come in their order but for threads that race. */
void sent_tally_add(struct sent_tally *tally, uint32_t sequence, uint64_t length, uint64_t now);

/*
 * A mark for the other side to compare at: the last packet, or, when packets come so fast that the other side may have
 * gone far beyond by the time it is told, the last round number.
 */
struct tally_mark sent_tally_mark(struct sent_tally *tally, uint64_t now);

/* All zero: nothing yet. */
struct received_tally {
  _Atomic uint8_t lock;
  uint32_t top;                            /* highest number */
  uint64_t bytes;                          /* of all */
  uint64_t behind;                         /* of packets with numbers up to top - TALLY_RING */
  uint16_t ring[TALLY_RING];               /* of single packets after that, by number */
  struct tally_mark coarse[TALLY_COARSE];  /* by number / TALLY_RING */
};

/* A packet was let through. Each number once; `length` below 65536. */
void received_tally_add(struct received_tally *tally, uint32_t sequence, uint16_t length);

/* Highest number and all bytes, as of one moment. */
struct tally_mark received_tally_mark(struct received_tally *tally);

/* Bytes of packets up to a number. 0 if that is not known any more. */
int received_tally_up_to(struct received_tally *tally, uint32_t sequence, uint64_t *bytes);

#endif
