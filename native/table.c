#include "table.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "siphash.h"

/*
 * The index: buckets of one cache line. A word is the hash's high half and the entry's number plus 1, so that a lookup
 * touches an entry only if it is the right one. A flow that finds its bucket full stands in one of the next, and each
 * bucket that it passed counts it. Lookups run beside changes, hence nothing is ever moved; what is removed leaves
 * nothing behind.
 */
enum { BUCKET_WORDS = 7 };

#define WORD_FREE 0ULL

struct bucket {
  _Alignas(64) _Atomic uint64_t word[BUCKET_WORDS];
  _Atomic uint64_t passed; /* flows that belong here, or before, and stand further on */
};

#define NO_ENTRY UINT32_MAX

/* Entries that wait for readers to leave. */
enum { RETIRED_SLACK = 4096 };

#define READER_OUTSIDE UINT64_MAX

struct reader {
  _Alignas(64) _Atomic uint64_t epoch;
};

struct refusal {
  uint32_t entry;
  uint64_t stamp;
};

struct table {
  uint64_t key[2];
  struct bucket *index;
  struct entry *entries;
  uint64_t mask;
  uint32_t total;    /* entries there are */
  uint32_t unused;   /* entries from here on were never used */
  uint32_t capacity;
  uint32_t permitted;
  uint32_t free;     /* list */
  uint32_t retired_first, retired_last;
  struct refusal *refusals; /* ring, oldest first */
  uint32_t refusal_slots, refusal_first, refusal_count;
  uint64_t refusal_stamp;
  int readers;
  struct reader reader[TABLE_READERS];
  _Alignas(64) _Atomic uint64_t epoch;
};

static void *map_lazily(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

static size_t index_bytes(const struct table *t) { return (t->mask + 1) * sizeof *t->index; }
static size_t entries_bytes(const struct table *t) { return (size_t)t->total * sizeof *t->entries; }

/* At most seven tenths of the words are in use. */
static uint64_t index_mask(uint32_t entries) {
  uint64_t buckets = 128;
  while (buckets * BUCKET_WORDS * 7 < (uint64_t)entries * 10) buckets *= 2;
  return buckets - 1;
}

static int allocate(struct table *t) {
  if (getrandom(t->key, sizeof t->key, 0) != (ssize_t)sizeof t->key) return -1;
  t->index = map_lazily(index_bytes(t));
  t->entries = map_lazily(entries_bytes(t));
  t->refusals = calloc(t->refusal_slots, sizeof *t->refusals);
  return t->index && t->entries && t->refusals ? 0 : -1;
}

struct table *table_create(uint32_t capacity, uint32_t refusals) {
  struct table *t = aligned_alloc(64, sizeof *t);
  if (!t) return NULL;
  memset(t, 0, sizeof *t);
  t->capacity = capacity;
  t->refusal_slots = refusals == 0 ? 1 : refusals;
  t->mask = index_mask(capacity + t->refusal_slots);
  t->total = capacity + t->refusal_slots + RETIRED_SLACK;
  t->free = t->retired_first = t->retired_last = NO_ENTRY;
  atomic_init(&t->epoch, 1);
  for (int i = 0; i < TABLE_READERS; i++) atomic_init(&t->reader[i].epoch, READER_OUTSIDE);
  if (allocate(t) == 0) return t;
  int error = errno;
  table_destroy(t);
  errno = error;
  return NULL;
}

void table_destroy(struct table *t) {
  if (t->index) munmap(t->index, index_bytes(t));
  if (t->entries) munmap(t->entries, entries_bytes(t));
  free(t->refusals);
  free(t);
}

uint32_t table_permitted(const struct table *t) { return t->permitted; }
uint32_t table_capacity(const struct table *t) { return t->capacity; }
uint64_t table_bytes(const struct table *t) {
  return index_bytes(t) + (uint64_t)t->unused * sizeof *t->entries + t->refusal_slots * sizeof *t->refusals;
}

uint64_t table_hash(const struct table *t, const struct flow_key *key) {
  uint64_t words[FLOW_KEY_WORDS];
  memcpy(words, key, sizeof words);
  return siphash_words(t->key, words, FLOW_KEY_WORDS, 1, 3);
}

static uint32_t word_entry(uint64_t word) { return (uint32_t)word - 1; }
static int word_matches(uint64_t word, uint64_t hash) { return word >> 32 == hash >> 32 && word != WORD_FREE; }
static uint64_t word_of(uint64_t hash, uint32_t number) { return (hash >> 32 << 32) | (number + 1); }

/* Where a flow was found. */
struct place {
  struct entry *entry; /* NULL: nowhere */
  _Atomic uint64_t *word;
  uint64_t distance; /* buckets behind its own */
};

static int find_in_bucket(const struct table *t, struct bucket *bucket, const struct flow_key *key, uint64_t hash,
                          struct place *out) {
  for (int i = 0; i < BUCKET_WORDS; i++) {
    uint64_t word = atomic_load(&bucket->word[i]);
    if (!word_matches(word, hash)) continue;
    out->entry = &t->entries[word_entry(word)];
    out->word = &bucket->word[i];
    if (flow_key_equal(&out->entry->key, key)) return 1;
  }
  return 0;
}

/* The loads are sequentially consistent, so that a reader that entered sees all that was done before. */
static struct place find_place(const struct table *t, const struct flow_key *key, uint64_t hash) {
  struct place place = {0};
  for (; place.distance <= t->mask; place.distance++) {
    struct bucket *bucket = &t->index[(hash + place.distance) & t->mask];
    if (find_in_bucket(t, bucket, key, hash, &place)) return place;
    if (atomic_load(&bucket->passed) == 0) break;
  }
  return (struct place){0};
}

struct entry *table_find(struct table *t, const struct flow_key *key, uint64_t hash) {
  return find_place(t, key, hash).entry;
}

void table_prefetch_index(const struct table *t, uint64_t hash) { __builtin_prefetch(&t->index[hash & t->mask]); }

void table_prefetch_entry(const struct table *t, uint64_t hash) {
  const struct bucket *bucket = &t->index[hash & t->mask];
  for (int i = 0; i < BUCKET_WORDS; i++) {
    uint64_t word = atomic_load_explicit(&bucket->word[i], memory_order_relaxed);
    if (!word_matches(word, hash)) continue;
    const char *entry = (const char *)&t->entries[word_entry(word)];
    __builtin_prefetch(entry, 1);
    __builtin_prefetch(entry + 64, 1);
    return;
  }
}

int table_reader(struct table *t) { return t->readers < TABLE_READERS ? t->readers++ : -1; }

void table_enter(struct table *t, int reader) {
  atomic_exchange(&t->reader[reader].epoch, atomic_load(&t->epoch));
}

void table_leave(struct table *t, int reader) {
  atomic_store_explicit(&t->reader[reader].epoch, READER_OUTSIDE, memory_order_release);
}

uint64_t table_ticket(struct table *t) { return atomic_fetch_add(&t->epoch, 1) + 1; }

/* READER_OUTSIDE is larger than any ticket. */
int table_settled(struct table *t, uint64_t ticket) {
  for (int i = 0; i < t->readers; i++)
    if (atomic_load(&t->reader[i].epoch) < ticket) return 0;
  return 1;
}

int table_has_room(const struct table *t, uint32_t additional) { return additional <= t->capacity - t->permitted; }

static void reclaim(struct table *t) {
  while (t->retired_first != NO_ENTRY) {
    uint32_t number = t->retired_first;
    struct entry *entry = &t->entries[number];
    if (!table_settled(t, entry->stamp)) return;
    t->retired_first = entry->next;
    if (t->retired_first == NO_ENTRY) t->retired_last = NO_ENTRY;
    entry->next = t->free;
    t->free = number;
  }
}

static uint32_t pop_free(struct table *t) {
  uint32_t number = t->free;
  if (number != NO_ENTRY) {
    t->free = t->entries[number].next;
    return number;
  }
  return t->unused < t->total ? t->unused++ : NO_ENTRY;
}

/* Waits only when thousands of entries were removed within one batch of a reader. */
static uint32_t take_entry(struct table *t) {
  if (t->free == NO_ENTRY) reclaim(t);
  uint32_t number = pop_free(t);
  while (number == NO_ENTRY) {
    sched_yield();
    reclaim(t);
    number = pop_free(t);
  }
  return number;
}

static void retire(struct table *t, uint32_t number) {
  struct entry *entry = &t->entries[number];
  entry->stamp = table_ticket(t);
  entry->next = NO_ENTRY;
  if (t->retired_last == NO_ENTRY) t->retired_first = number;
  else t->entries[t->retired_last].next = number;
  t->retired_last = number;
}

static _Atomic uint64_t *free_word(struct bucket *bucket) {
  for (int i = 0; i < BUCKET_WORDS; i++)
    if (atomic_load_explicit(&bucket->word[i], memory_order_relaxed) == WORD_FREE) return &bucket->word[i];
  return NULL;
}

/* The flow must not be in the index, which always has room. A bucket is passed before the word is there to be found. */
static void index_insert(struct table *t, uint64_t hash, uint32_t number) {
  for (uint64_t at = hash;; at++) {
    struct bucket *bucket = &t->index[at & t->mask];
    _Atomic uint64_t *word = free_word(bucket);
    if (word) {
      atomic_store(word, word_of(hash, number));
      return;
    }
    atomic_fetch_add(&bucket->passed, 1);
  }
}

static void index_remove(struct table *t, uint64_t hash, const struct place *place) {
  atomic_store(place->word, WORD_FREE);
  for (uint64_t i = 0; i < place->distance; i++) atomic_fetch_sub(&t->index[(hash + i) & t->mask].passed, 1);
}

static void set(_Atomic uint64_t *field, uint64_t value) {
  atomic_store_explicit(field, value, memory_order_relaxed);
}

static void clear_counts(struct entry *entry) {
  set(&entry->bytes, 0);
  set(&entry->packets, 0);
  set(&entry->last, 0);
  set(&entry->over_volume, 0);
  set(&entry->expired, 0);
}

static void raise_count(struct entry *entry, uint64_t least) {
  uint64_t bytes = atomic_load_explicit(&entry->bytes, memory_order_relaxed);
  while (bytes < least && !atomic_compare_exchange_weak(&entry->bytes, &bytes, least)) {
  }
}

/* The term goes last: with it readers see all the rest. */
static void write_permission(struct entry *entry, const struct permission *p) {
  if (p->recounts) set(&entry->bytes, p->count_from);
  else raise_count(entry, p->counted_at_least);
  set(&entry->allowed, p->allowed);
  set(&entry->notify_at, p->notify_at);
  atomic_store_explicit(&entry->raised, 0, memory_order_relaxed);
  atomic_store_explicit(&entry->protection, p->protection, memory_order_relaxed);
  atomic_store_explicit(&entry->path, p->path, memory_order_relaxed);
  atomic_store_explicit(&entry->term, p->expires & ~TERM_REFUSED, memory_order_release);
}

/* An entry that nobody sees yet. */
static struct entry *fresh_entry(struct table *t, const struct flow_key *key, uint32_t *number) {
  *number = take_entry(t);
  struct entry *entry = &t->entries[*number];
  memset((void *)entry, 0, sizeof *entry);
  entry->key = *key;
  return entry;
}

static int is_refused(const struct entry *entry) {
  return (atomic_load_explicit(&entry->term, memory_order_relaxed) & TERM_REFUSED) != 0;
}

enum permit_result table_permit(struct table *t, const struct flow_key *key, uint64_t hash,
                                const struct permission *permission) {
  struct entry *entry = table_find(t, key, hash);
  if (entry && !is_refused(entry)) {
    write_permission(entry, permission);
    return PERMIT_CHANGED;
  }
  if (!table_has_room(t, 1)) return PERMIT_FULL;
  t->permitted++;
  if (entry) {
    clear_counts(entry);
    write_permission(entry, permission);
    return PERMIT_NEW;
  }
  uint32_t number;
  entry = fresh_entry(t, key, &number);
  write_permission(entry, permission);
  index_insert(t, hash, number);
  return PERMIT_NEW;
}

int table_remove(struct table *t, const struct flow_key *key, uint64_t hash) {
  struct place place = find_place(t, key, hash);
  if (!place.entry) return 0;
  if (!is_refused(place.entry)) t->permitted--;
  index_remove(t, hash, &place);
  set(&place.entry->term, TERM_NONE);
  retire(t, (uint32_t)(place.entry - t->entries));
  return 1;
}

/* The ring may name an entry that has since been permitted, removed or refused anew; then it is left alone. */
static void drop_oldest_refusal(struct table *t) {
  struct refusal oldest = t->refusals[t->refusal_first];
  t->refusal_first = (t->refusal_first + 1) % t->refusal_slots;
  t->refusal_count--;
  struct entry *entry = &t->entries[oldest.entry];
  if (!is_refused(entry) || entry->stamp != oldest.stamp) return;
  struct flow_key key = entry->key;
  table_remove(t, &key, table_hash(t, &key));
}

/* The stamp is given first: the oldest refusal may be an earlier one of the same entry. */
static void remember_refusal(struct table *t, uint32_t number) {
  uint64_t stamp = ++t->refusal_stamp;
  t->entries[number].stamp = stamp;
  if (t->refusal_count == t->refusal_slots) drop_oldest_refusal(t);
  uint32_t slot = (t->refusal_first + t->refusal_count++) % t->refusal_slots;
  t->refusals[slot] = (struct refusal){.entry = number, .stamp = stamp};
}

static void write_refusal(struct entry *entry, uint64_t until, int open) {
  atomic_store_explicit(&entry->raised, open ? REFUSED_OPEN : 0, memory_order_relaxed);
  atomic_store_explicit(&entry->term, until | TERM_REFUSED, memory_order_release);
}

void table_refuse(struct table *t, const struct flow_key *key, uint64_t hash, uint64_t until, int open) {
  struct entry *entry = table_find(t, key, hash);
  if (entry) {
    int was_refused = is_refused(entry);
    write_refusal(entry, until, open);
    if (was_refused) return;
    t->permitted--;
    remember_refusal(t, (uint32_t)(entry - t->entries));
    return;
  }
  uint32_t number;
  entry = fresh_entry(t, key, &number);
  write_refusal(entry, until, open);
  remember_refusal(t, number);
  index_insert(t, hash, number);
}

struct entry *table_next_permitted(struct table *t, uint32_t *cursor, uint32_t end) {
  while (*cursor < t->unused && *cursor < end) {
    struct entry *entry = &t->entries[(*cursor)++];
    uint64_t term = atomic_load_explicit(&entry->term, memory_order_relaxed);
    if (term != TERM_NONE && !(term & TERM_REFUSED)) return entry;
  }
  return NULL;
}

uint32_t table_used(const struct table *t) { return t->unused; }
