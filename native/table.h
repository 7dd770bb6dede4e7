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

#include "table-layout.h"

struct table;
struct places;

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

/* Where a table lies when it is not in memory of its own: maps that XDP programs look into too. */
struct table_space {
  struct table_control *control;
  struct bucket *index;
  struct entry *entries;
  /* One for each processor that runs the programs, `foreign_stride` bytes apart. */
  struct reader_slot *foreign;
  uint32_t foreign_count, foreign_stride;
  struct places *places; /* beside the table, for those who look into it */
};

/* Buckets of the index, and entries, that a table of this size has. */
void table_sizes(uint32_t capacity, uint32_t refusals, uint64_t *buckets, uint64_t *entries);

/*
 * A table in `space`, which is zeros, or holds one of an earlier process: of that the permissions without AH are kept, with
 * their counts, and nothing else. NULL with errno; EINVAL: what is there is of another size or layout.
 */
struct table *table_create_in(const struct table_space *space, uint32_t capacity, uint32_t refusals);

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

/* A permission is about to be refreshed: it gives way to none from now on. */
void table_refresh(struct table *table, struct entry *entry);

/*
 * Up to `count` permissions that nobody has refreshed and no packet has used, the oldest first: those that may give way
 * when the table is full. Returns how many there are.
 */
uint32_t table_unestablished(struct table *table, const struct entry **out, uint32_t count);

/* Takes a flow out. 0 if it was not in. */
int table_remove(struct table *table, const struct flow_key *key, uint64_t hash);

/* A ticket that is settled once no reader works with what was found before now. */
uint64_t table_ticket(struct table *table);
int table_settled(struct table *table, uint64_t ticket);

/*
 * Of entries from number `start` to below `end`, takes out permissions of an earlier process whose time is over: nobody
 * else will. Returns how many others of that process there are.
 */
uint32_t table_drop_adopted(struct table *table, uint32_t start, uint32_t end, uint64_t now);

/* How many entries were ever used. */
uint32_t table_used(const struct table *table);

/* The first permitted entry from number `*cursor` to below `end`, or NULL; moves the cursor behind it. */
struct entry *table_next_permitted(struct table *table, uint32_t *cursor, uint32_t end);

#endif
