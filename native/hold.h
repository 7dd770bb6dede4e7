/*
 * Packets of local applications that wait for an answer. Only their numbers in the kernel's queue are kept here; the
 * bytes stay in the kernel. Bounded per flow, in all, and in time. Not locked: the owner does that.
 */
#ifndef PBS_HOLD_H
#define PBS_HOLD_H

#include <stdint.h>

#include "packet.h"

struct held_packet {
  struct packet packet;
  uint64_t deadline;
  uint32_t id;
  uint32_t mark; /* that the packet has from the machine's own rules */
  uint32_t flow;
  uint32_t next;                 /* of the same flow, in order; or of the free list */
  uint32_t earlier, later;       /* of all, in order of arrival */
};

struct held_flow {
  struct flow_key key;
  uint32_t first, last, count;
  uint32_t next; /* of the same bucket, or of the free list */
  uint32_t bucket;
};

struct hold {
  struct held_packet *packets;
  struct held_flow *flows;
  uint32_t *buckets;
  uint32_t capacity, per_flow, count;
  uint32_t mask;
  uint32_t free_packet, free_flow;
  uint32_t oldest, newest;
  uint64_t time; /* nanoseconds that a packet may wait */
};

enum hold_result {
  HOLD_FIRST, /* held, and nobody had asked for this flow */
  HOLD_MORE,
  HOLD_FLOW_FULL,
  HOLD_FULL,
};

/* 0, or -1 with errno. */
int hold_init(struct hold *hold, uint32_t capacity, uint32_t per_flow, uint64_t time);
void hold_destroy(struct hold *hold);

enum hold_result hold_add(struct hold *hold, const struct packet *packet, uint64_t hash, uint32_t id, uint32_t mark,
                          uint64_t now);

/* Takes the flow's oldest packet out. 0 if none is left; with its last packet the flow is forgotten. */
int hold_take(struct hold *hold, const struct flow_key *key, uint64_t hash, struct held_packet *out);

/* Takes out the oldest of all if its time is over. 0 if there is none. */
int hold_take_overdue(struct hold *hold, uint64_t now, struct held_packet *out);

/* When the oldest packet's time is over; UINT64_MAX if none is held. */
uint64_t hold_deadline(const struct hold *hold);

#endif
