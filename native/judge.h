/* The decision about one packet, from the flow table alone. The same for every queue and every hook. */
#ifndef PBS_JUDGE_H
#define PBS_JUDGE_H

#include "counters.h"
#include "events.h"
#include "packet.h"
#include "table.h"

enum decision {
  DECIDE_ACCEPT,
  DECIDE_DROP,
  DECIDE_REFUSE,  /* the flow is refused: its application is to be told */
  DECIDE_UNKNOWN, /* the table does not know the flow */
};

struct judge {
  struct table *table;
  struct events *events;
  int enforce; /* 0: what exceeds the volume is counted and let through */
};

/* Decides, counts in the table, and raises events. Accepts and drops are counted in `counters`; the rest is not. */
enum decision judge_packet(const struct judge *judge, const struct packet *packet, uint64_t hash, uint64_t now,
                           struct counters *counters);

/* The counter for a packet that could not be parsed. */
enum counter judge_problem(enum packet_problem problem);

#endif
