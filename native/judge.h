/* The decision about one packet, from the flow table alone. The same for every queue and every hook. */
#ifndef PBS_JUDGE_H
#define PBS_JUDGE_H

#include "counters.h"
#include "events.h"
#include "packet.h"
#include "protection.h"
#include "table.h"

enum decision {
  DECIDE_ACCEPT,
  DECIDE_DROP,
  DECIDE_REFUSE,  /* the flow is refused: its application is to be told */
  DECIDE_OPEN,    /* as one without permission in an open network */
  DECIDE_UNKNOWN, /* the table does not know the flow */
  DECIDE_DEEP,    /* permitted, but every byte of the packet is needed: nothing is counted yet */
};

struct judge {
  struct table *table;
  const struct protections *protections;
  struct events *events;
  struct places *places; /* by number; NULL: no flow is traced */
  int enforce; /* 0: what exceeds the volume is counted and let through */
};

/* Decides, counts in the table, and raises events. Accepts and drops are counted in `counters`; the rest is not. */
enum decision judge_packet(const struct judge *judge, const struct packet *packet, uint64_t hash, uint64_t now,
                           struct counters *counters);

/* The flow's entry, and what is done about AH with it: NULL where there is none, or the packet is not permitted. */
struct entry *judge_find(const struct judge *judge, const struct packet *packet, uint64_t hash, uint64_t now,
                         struct protection **protection);

/* Whether `length` more bytes would be within the volume, as of now. */
int judge_has_volume(const struct judge *judge, const struct entry *entry, uint64_t length);

/* Whether it is known already that the volume is used up, so that its event was raised. */
int judge_is_exhausted(const struct entry *entry);

/* Takes the volume of one packet and raises events; accept or drop. What judge_packet does after DECIDE_DEEP. */
enum decision judge_volume(const struct judge *judge, struct entry *entry, const struct packet *packet,
                           uint64_t length, uint64_t now, struct counters *counters);

/* Counts the packet as one that failed authentication, where it came in. */
void judge_failed(const struct judge *judge, const struct entry *entry, const struct packet *packet);

/* The counter for a packet that could not be parsed. */
enum counter judge_problem(enum packet_problem problem);

#endif
