/*
 * The flow table: exact 5-tuples of both families, with permissions, refusals and counters.
 *
 * One thread changes the table (the one that runs JavaScript); queue threads look flows up and count without locks.
 * A key never changes while an entry can be found, all other fields are atomic, and an entry that was taken out is
 * used again only after every reader has left the batch in which it could have found it.
 */
#ifndef PBS_TABLE_H
#define PBS_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "flow.h"

enum { TABLE_READERS = 16 };

/* Of `raised`: events that were already sent for this permission. */
enum { RAISED_THRESHOLD = 1, RAISED_EXHAUSTED = 2 };

/* The same byte of an entry that is refused: its packets go in the class of traffic without permission. */
enum { REFUSED_OPEN = 1 };

/* Of `term`: the flow is refused, not permitted, until the time in the other bits. */
#define TERM_REFUSED (1ULL << 63)

/* Term of entries that are not in the table. */
#define TERM_NONE 0ULL

#define NO_THRESHOLD UINT64_MAX

/* The first 64 bytes are all that a lookup and a verdict read; the rest is fetched together with them. */
struct entry {
  _Alignas(64) struct flow_key key;
  _Atomic uint64_t term;    /* monotonic nanoseconds, and TERM_REFUSED */
  _Atomic uint64_t allowed; /* cap on `bytes` */
  _Atomic uint64_t bytes;
  _Alignas(64) _Atomic uint64_t packets;
  _Atomic uint64_t last; /* when the last packet passed; 0: none did */
  _Atomic uint64_t notify_at;
  _Atomic uint64_t over_volume;
  _Atomic uint64_t expired;
  uint64_t stamp;       /* while retired: the ticket after which it is free. While refused: which refusal it is */
  uint32_t set_added;   /* monotonic seconds of the last addition to the kernel set, 0 for never */
  uint32_t next;        /* list of free or retired entries */
  _Atomic uint16_t mss; /* what this flow's sender announced, for segments of the opposite flow; 0: unknown */
  _Atomic uint8_t raised;
  _Atomic uint8_t path; /* at the sender, number of the path that its packets take; 0: the routing table's */
  _Atomic uint32_t protection; /* what is done about AH, by number; 0: nothing */
};

_Static_assert(sizeof(struct entry) == 128, "two cache lines an entry");

struct table;

struct permission {
  uint64_t allowed;
  uint64_t expires;   /* monotonic nanoseconds */
  uint64_t notify_at; /* or NO_THRESHOLD */
  uint64_t counted_at_least;
  int recounts; /* the count is set to the next, whatever it was */
  uint64_t count_from;
  uint32_t protection; /* number, or 0 */
  uint8_t path;
};

enum permit_result { PERMIT_CHANGED, PERMIT_NEW, PERMIT_FULL };

/*
 * A table for `capacity` permissions and, apart from them, `refusals` refusals. Memory is taken from the system as
 * entries are used. NULL with errno when it cannot be had.
 */
struct table *table_create(uint32_t capacity, uint32_t refusals);

/* No reader may be inside. */
void table_destroy(struct table *table);

uint32_t table_permitted(const struct table *table);
uint32_t table_capacity(const struct table *table);

/* Bytes of memory that the table takes for what it has held so far; pages never touched do not count. */
uint64_t table_bytes(const struct table *table);

uint64_t table_hash(const struct table *table, const struct flow_key *key);

/* The entry of a flow, or NULL. Between enter and leave, or in the thread that changes the table. */
struct entry *table_find(struct table *table, const struct flow_key *key, uint64_t hash);

/* Bring what a lookup will need into the cache: the index first, then, once that is there, the entry. */
void table_prefetch_index(const struct table *table, uint64_t hash);
void table_prefetch_entry(const struct table *table, uint64_t hash);

/* A reader's number for enter and leave, or -1 when there are TABLE_READERS of them. */
int table_reader(struct table *table);
void table_enter(struct table *table, int reader);
void table_leave(struct table *table, int reader);

/* From here on: the changing thread only. */

/* Whether `additional` new permissions fit. */
int table_has_room(const struct table *table, uint32_t additional);

/* Installs a permission, or changes the one that is there and keeps its counts. */
enum permit_result table_permit(struct table *table, const struct flow_key *key, uint64_t hash,
                                const struct permission *permission);

/*
 * Refuses a flow until `until`, in place of a permission if there is one. When all are used the oldest gives way.
 * `open`: as one without permission in an open network.
 */
void table_refuse(struct table *table, const struct flow_key *key, uint64_t hash, uint64_t until, int open);

/* Takes a flow out. 0 if it was not in. */
int table_remove(struct table *table, const struct flow_key *key, uint64_t hash);

/* A ticket that is settled once no reader works with what was found before now. */
uint64_t table_ticket(struct table *table);
int table_settled(struct table *table, uint64_t ticket);

/* How many entries were ever used. */
uint32_t table_used(const struct table *table);

/* The first permitted entry from number `*cursor` to below `end`, or NULL; moves the cursor behind it. */
struct entry *table_next_permitted(struct table *table, uint32_t *cursor, uint32_t end);

#endif
