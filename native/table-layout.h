/*
 * What the flow table keeps in memory, as every reader sees it: queue threads here, XDP programs in the kernel. For the
 * programs the same memory is BPF maps, so that there is one table, with one count and one cap a flow, whoever judges.
 */
#ifndef PBS_TABLE_LAYOUT_H
#define PBS_TABLE_LAYOUT_H

#include <stdint.h>

#include "flow.h"

/* BPF has its own atomic operations, and a plain load or store of a word is one access. */
#ifdef __bpf__
#define SHARED(type) type
#else
#define SHARED(type) _Atomic type
#endif

enum {
  TABLE_READERS = 16, /* threads of this process */
  BUCKET_WORDS = 7,
  TABLE_LAYOUT = 2, /* raised with every change of a structure in this file, so that none is read as another */
};

/* Of `raised`: events that were already sent for this permission. */
enum { RAISED_THRESHOLD = 1, RAISED_EXHAUSTED = 2 };

/* Its upper bits: the flow's number among those whose places are counted (places.h), 0 for none. */
enum { RAISED_EVENTS = 0xff, TRACED_SHIFT = 8 };

/* The same word of an entry that is refused: its packets go in the class of traffic without permission. */
enum { REFUSED_OPEN = 1 };

/* Of `term`: the flow is refused, not permitted, until the time in the other bits. */
#define TERM_REFUSED (1ULL << 63)

/* Term of entries that are not in the table. */
#define TERM_NONE 0ULL

#define NO_THRESHOLD UINT64_MAX

/* The first 64 bytes are all that a lookup and a verdict read; the rest is fetched together with them. */
struct entry {
  _Alignas(64) struct flow_key key;
  SHARED(uint64_t) term;    /* monotonic nanoseconds, and TERM_REFUSED */
  SHARED(uint64_t) allowed; /* cap on `bytes` */
  SHARED(uint64_t) bytes;
  _Alignas(64) SHARED(uint64_t) packets;
  SHARED(uint64_t) last; /* when the last packet passed; 0: none did */
  SHARED(uint64_t) notify_at;
  SHARED(uint64_t) over_volume;
  SHARED(uint64_t) expired;
  union {
    uint64_t stamp; /* while retired: the ticket after which it is free. While refused: which refusal it is */
    /* While permitted: its neighbours among the flows that nobody has refreshed; `older` is its own number outside. */
    struct {
      uint32_t older, newer;
    };
  };
  union {
    uint32_t set_added; /* in the table: monotonic seconds of the last addition to the kernel set, 0 for never */
    uint32_t next;      /* outside: list of free or retired entries */
  };
  SHARED(uint32_t) raised;
  SHARED(uint16_t) mss; /* what this flow's sender announced, for segments of the opposite flow; 0: unknown */
  SHARED(uint8_t) path; /* at the sender, number of the path that its packets take; 0: the routing table's */
  uint8_t adopted;      /* 1: installed by an earlier process, and not again since */
  SHARED(uint32_t) protection; /* what is done about AH, by number; 0: nothing */
};

_Static_assert(sizeof(struct entry) == 128, "two cache lines an entry");

/*
 * The index: buckets of one cache line. A word is the hash's high half and the entry's number plus 1, so that a lookup
 * touches an entry only if it is the right one. A flow that finds its bucket full stands in one of the next, and each
 * bucket that it passed counts it. Lookups run beside changes, hence nothing is ever moved; what is removed leaves
 * nothing behind.
 */
#define WORD_FREE 0ULL

struct bucket {
  _Alignas(64) SHARED(uint64_t) word[BUCKET_WORDS];
  SHARED(uint64_t) passed; /* flows that belong here, or before, and stand further on */
};

static inline uint32_t word_entry(uint64_t word) { return (uint32_t)word - 1; }
static inline int word_matches(uint64_t word, uint64_t hash) { return word >> 32 == hash >> 32 && word != WORD_FREE; }

/*
 * Where a flow's entry is, if that was free when it was installed: a reader in a hurry fetches it together with the bucket.
 * The bucket's place comes from the hash's low half.
 */
static inline uint32_t preferred_entry(uint64_t hash, uint32_t total) {
  return (uint32_t)((hash >> 32) * total >> 32);
}

#define READER_OUTSIDE UINT64_MAX

/* The epoch at which a reader entered, or READER_OUTSIDE. */
struct reader_slot {
  _Alignas(64) SHARED(uint64_t) epoch;
};

struct table_control {
  uint32_t layout; /* TABLE_LAYOUT */
  uint32_t capacity;
  uint32_t refusals;
  uint32_t total; /* entries there are */
  uint64_t mask;  /* of the index */
  uint64_t key[2];
  SHARED(uint32_t) blocked; /* sources in the programs' map of those whose every packet is dropped */
  SHARED(uint32_t) off_path; /* places in the programs' map of those at which a flow's packets are dropped */
  struct reader_slot reader[TABLE_READERS];
  _Alignas(64) SHARED(uint64_t) epoch;
};

#endif
