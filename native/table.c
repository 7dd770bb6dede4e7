#include "table.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "siphash.h"

#define NO_ENTRY UINT32_MAX

/* Entries that wait for readers to leave. */
enum { RETIRED_SLACK = 4096 };

/* Entries that are looked at for some that may give way, so that the search is short. */
enum { EVICTION_SCAN = 65536 };

struct refusal {
  uint32_t entry;
  uint64_t stamp;
};

struct table {
  struct table_control *control;
  struct bucket *index;
  struct entry *entries;
  uint64_t key[2];
  uint64_t mask;
  uint32_t total;    /* entries there are */
  uint32_t unused;   /* entries from here on were never used */
  uint32_t capacity;
  uint32_t permitted;
  uint32_t free;     /* list */
  uint32_t retired_first, retired_last;
  uint32_t oldest, newest; /* of the permissions that were never refreshed */
  struct refusal *refusals; /* ring, oldest first */
  uint32_t refusal_slots, refusal_first, refusal_count;
  uint64_t refusal_stamp;
  int readers;
  struct reader_slot *foreign;
  uint32_t foreign_count, foreign_stride;
  int owns_memory;
  /* Of a table in maps, whose memory is all there from the start: a bit for each entry that is free. NULL: `free` has them. */
  uint64_t *vacant;
};

static void *map_lazily(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

static size_t index_bytes(const struct table *t) { return (t->mask + 1) * sizeof *t->index; }
static size_t entries_bytes(const struct table *t) { return (size_t)t->total * sizeof *t->entries; }

static uint32_t refusal_slots(uint32_t refusals) { return refusals == 0 ? 1 : refusals; }

/* At most seven tenths of the words are in use. */
void table_sizes(uint32_t capacity, uint32_t refusals, uint64_t *buckets, uint64_t *entries) {
  uint64_t flows = (uint64_t)capacity + refusal_slots(refusals);
  *entries = flows + RETIRED_SLACK;
  *buckets = 128;
  while (*buckets * BUCKET_WORDS * 7 < flows * 10) *buckets *= 2;
}

static struct table *make_table(uint32_t capacity, uint32_t refusals) {
  struct table *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  uint64_t buckets, entries;
  table_sizes(capacity, refusals, &buckets, &entries);
  t->capacity = capacity;
  t->refusal_slots = refusal_slots(refusals);
  t->mask = buckets - 1;
  t->total = (uint32_t)entries;
  t->free = t->retired_first = t->retired_last = t->oldest = t->newest = NO_ENTRY;
  t->refusals = calloc(t->refusal_slots, sizeof *t->refusals);
  return t;
}

/* A table that failed to come about; errno stays. */
static struct table *give_up(struct table *t, int error) {
  table_destroy(t);
  errno = error;
  return NULL;
}

static int start_control(struct table *t) {
  struct table_control *c = t->control;
  if (getrandom(c->key, sizeof c->key, 0) != (ssize_t)sizeof c->key) return -1;
  c->capacity = t->capacity;
  c->refusals = t->refusal_slots;
  c->total = t->total;
  c->mask = t->mask;
  atomic_store(&c->epoch, 1);
  c->layout = TABLE_LAYOUT;
  return 0;
}

/* Readers of an earlier process are gone, wherever they were. */
static void take_control(struct table *t) {
  for (int i = 0; i < TABLE_READERS; i++) atomic_store(&t->control->reader[i].epoch, READER_OUTSIDE);
  memcpy(t->key, t->control->key, sizeof t->key);
}

struct table *table_create(uint32_t capacity, uint32_t refusals) {
  struct table *t = make_table(capacity, refusals);
  if (!t) return NULL;
  t->owns_memory = 1;
  t->control = map_lazily(sizeof *t->control);
  t->index = map_lazily(index_bytes(t));
  t->entries = map_lazily(entries_bytes(t));
  if (!t->refusals || !t->control || !t->index || !t->entries || start_control(t) < 0) return give_up(t, errno);
  take_control(t);
  return t;
}

void table_destroy(struct table *t) {
  if (t->owns_memory) {
    if (t->control) munmap(t->control, sizeof *t->control);
    if (t->index) munmap(t->index, index_bytes(t));
    if (t->entries) munmap(t->entries, entries_bytes(t));
  }
  free(t->vacant);
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
  /* Not there: it will stand where it prefers to, if it is installed. */
  if (!t->vacant) return;
  const char *preferred = (const char *)&t->entries[preferred_entry(hash, t->total)];
  __builtin_prefetch(preferred, 1);
  __builtin_prefetch(preferred + 64, 1);
}

int table_reader(struct table *t) { return t->readers < TABLE_READERS ? t->readers++ : -1; }

void table_enter(struct table *t, int reader) {
  atomic_exchange(&t->control->reader[reader].epoch, atomic_load(&t->control->epoch));
}

void table_leave(struct table *t, int reader) {
  atomic_store_explicit(&t->control->reader[reader].epoch, READER_OUTSIDE, memory_order_release);
}

uint64_t table_ticket(struct table *t) { return atomic_fetch_add(&t->control->epoch, 1) + 1; }

static const struct reader_slot *foreign_reader(const struct table *t, uint32_t number) {
  return (const struct reader_slot *)((const char *)t->foreign + (size_t)number * t->foreign_stride);
}

/* READER_OUTSIDE is larger than any ticket. */
int table_settled(struct table *t, uint64_t ticket) {
  for (int i = 0; i < t->readers; i++)
    if (atomic_load(&t->control->reader[i].epoch) < ticket) return 0;
  for (uint32_t i = 0; i < t->foreign_count; i++)
    if (atomic_load(&foreign_reader(t, i)->epoch) < ticket) return 0;
  return 1;
}

int table_has_room(const struct table *t, uint32_t additional) { return additional <= t->capacity - t->permitted; }

static uint32_t vacant_words(const struct table *t) { return (t->total + 63) / 64; }

/* The vacant entry next after `from`, or NO_ENTRY. */
static uint32_t pop_vacant(struct table *t, uint32_t from) {
  uint32_t word = from / 64;
  uint64_t bits = t->vacant[word] >> from % 64 << from % 64;
  for (uint32_t i = 0; bits == 0 && i < vacant_words(t); i++) {
    word = (word + 1) % vacant_words(t);
    bits = t->vacant[word];
  }
  if (bits == 0) return NO_ENTRY;
  uint32_t bit = (uint32_t)__builtin_ctzll(bits);
  t->vacant[word] &= ~(1ULL << bit);
  return word * 64 + bit;
}

static uint32_t pop_free(struct table *t, uint64_t hash) {
  if (t->vacant) return pop_vacant(t, preferred_entry(hash, t->total));
  uint32_t number = t->free;
  if (number != NO_ENTRY) {
    t->free = t->entries[number].next;
    return number;
  }
  return t->unused < t->total ? t->unused++ : NO_ENTRY;
}

static void put_free(struct table *t, uint32_t number) {
  if (t->vacant) {
    t->vacant[number / 64] |= 1ULL << number % 64;
    return;
  }
  t->entries[number].next = t->free;
  t->free = number;
}

static void reclaim(struct table *t) {
  while (t->retired_first != NO_ENTRY) {
    uint32_t number = t->retired_first;
    struct entry *entry = &t->entries[number];
    if (!table_settled(t, entry->stamp)) return;
    t->retired_first = entry->next;
    if (t->retired_first == NO_ENTRY) t->retired_last = NO_ENTRY;
    put_free(t, number);
  }
}

/* Waits only when thousands of entries were removed within one batch of a reader. */
static uint32_t take_entry(struct table *t, uint64_t hash) {
  if (t->free == NO_ENTRY) reclaim(t);
  uint32_t number = pop_free(t, hash);
  while (number == NO_ENTRY) {
    sched_yield();
    reclaim(t);
    number = pop_free(t, hash);
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
  entry->adopted = 0;
  set(&entry->allowed, p->allowed);
  set(&entry->notify_at, p->notify_at);
  atomic_fetch_and_explicit(&entry->raised, ~(uint32_t)RAISED_EVENTS, memory_order_relaxed);
  atomic_store_explicit(&entry->protection, p->protection, memory_order_relaxed);
  atomic_store_explicit(&entry->path, p->path, memory_order_relaxed);
  atomic_store_explicit(&entry->term, p->expires & ~TERM_REFUSED, memory_order_release);
}

/* An entry that nobody sees yet. */
static struct entry *fresh_entry(struct table *t, const struct flow_key *key, uint64_t hash, uint32_t *number) {
  *number = take_entry(t, hash);
  struct entry *entry = &t->entries[*number];
  memset((void *)entry, 0, sizeof *entry);
  entry->key = *key;
  return entry;
}

static int is_refused(const struct entry *entry) {
  return (atomic_load_explicit(&entry->term, memory_order_relaxed) & TERM_REFUSED) != 0;
}

static void enter_unrefreshed(struct table *t, struct entry *entry) {
  uint32_t number = (uint32_t)(entry - t->entries);
  entry->older = t->newest;
  entry->newer = NO_ENTRY;
  if (t->newest == NO_ENTRY) t->oldest = number;
  else t->entries[t->newest].newer = number;
  t->newest = number;
}

static void leave_unrefreshed(struct table *t, struct entry *entry) {
  uint32_t number = (uint32_t)(entry - t->entries);
  if (entry->older == number) return;
  if (entry->older == NO_ENTRY) t->oldest = entry->newer;
  else t->entries[entry->older].newer = entry->newer;
  if (entry->newer == NO_ENTRY) t->newest = entry->older;
  else t->entries[entry->newer].older = entry->older;
  entry->older = number;
}

enum permit_result table_permit(struct table *t, const struct flow_key *key, uint64_t hash,
                                const struct permission *permission) {
  struct entry *entry = table_find(t, key, hash);
  if (entry && !is_refused(entry)) {
    leave_unrefreshed(t, entry);
    write_permission(entry, permission);
    return PERMIT_CHANGED;
  }
  if (!table_has_room(t, 1)) return PERMIT_FULL;
  t->permitted++;
  if (entry) {
    clear_counts(entry);
    enter_unrefreshed(t, entry);
    write_permission(entry, permission);
    return PERMIT_NEW;
  }
  uint32_t number;
  entry = fresh_entry(t, key, hash, &number);
  enter_unrefreshed(t, entry);
  write_permission(entry, permission);
  index_insert(t, hash, number);
  return PERMIT_NEW;
}

int table_remove(struct table *t, const struct flow_key *key, uint64_t hash) {
  struct place place = find_place(t, key, hash);
  if (!place.entry) return 0;
  if (!is_refused(place.entry)) {
    t->permitted--;
    leave_unrefreshed(t, place.entry);
  }
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
    leave_unrefreshed(t, entry);
    remember_refusal(t, (uint32_t)(entry - t->entries));
    return;
  }
  uint32_t number;
  entry = fresh_entry(t, key, hash, &number);
  write_refusal(entry, until, open);
  remember_refusal(t, number);
  index_insert(t, hash, number);
}

void table_refresh(struct table *t, struct entry *entry) {
  if (!is_refused(entry)) leave_unrefreshed(t, entry);
}

/* A flow that packets have passed by is established; it leaves the list when it is come upon. */
static int is_established(const struct entry *entry) {
  return atomic_load_explicit(&entry->last, memory_order_relaxed) != 0;
}

uint32_t table_unestablished(struct table *t, const struct entry **out, uint32_t count) {
  uint32_t found = 0, number = t->oldest;
  for (uint32_t seen = 0; found < count && number != NO_ENTRY && seen < EVICTION_SCAN; seen++) {
    struct entry *entry = &t->entries[number];
    number = entry->newer;
    if (is_established(entry)) leave_unrefreshed(t, entry);
    else out[found++] = entry;
  }
  return found;
}

struct entry *table_next_permitted(struct table *t, uint32_t *cursor, uint32_t end) {
  while (*cursor < t->unused && *cursor < end) {
    struct entry *entry = &t->entries[(*cursor)++];
    uint64_t term = atomic_load_explicit(&entry->term, memory_order_relaxed);
    if (term != TERM_NONE && !(term & TERM_REFUSED)) return entry;
  }
  return NULL;
}

uint32_t table_drop_adopted(struct table *t, uint32_t start, uint32_t end, uint64_t now) {
  uint32_t left = 0;
  struct entry *entry;
  while ((entry = table_next_permitted(t, &start, end)) != NULL) {
    if (!entry->adopted) continue;
    if (atomic_load_explicit(&entry->term, memory_order_relaxed) > now) {
      left++;
      continue;
    }
    struct flow_key key = entry->key;
    table_remove(t, &key, table_hash(t, &key));
  }
  return left;
}

uint32_t table_used(const struct table *t) { return t->unused; }

/* What is not found by the index was not yet, or no longer, in the table when its process ended. */
static uint8_t *entries_found(struct table *t) {
  uint8_t *found = calloc(t->total, 1);
  if (!found) return NULL;
  for (uint64_t b = 0; b <= t->mask; b++)
    for (int i = 0; i < BUCKET_WORDS; i++) {
      uint64_t word = atomic_load_explicit(&t->index[b].word[i], memory_order_relaxed);
      if (word == WORD_FREE) continue;
      if (word_entry(word) < t->total) found[word_entry(word)] = 1;
      else atomic_store(&t->index[b].word[i], WORD_FREE);
    }
  return found;
}

/* Keys of AH, and who was refused, were only known to the process that is gone. */
static int is_kept(const struct entry *entry) {
  return !is_refused(entry) && atomic_load_explicit(&entry->protection, memory_order_relaxed) == 0;
}

static void adopt_entry(struct table *t, uint32_t number, int found) {
  struct entry *entry = &t->entries[number];
  if (!found) {
    set(&entry->term, TERM_NONE);
    put_free(t, number);
    return;
  }
  t->permitted++;
  entry->set_added = 0;
  entry->adopted = 1;
  atomic_fetch_and(&entry->raised, (uint32_t)RAISED_EVENTS); /* nobody looks where its packets come in */
  entry->older = number; /* in no list */
  struct flow_key key = entry->key;
  if (!is_kept(entry) || t->permitted > t->capacity) {
    set(&entry->term, TERM_NONE); /* no longer a refusal, which would not be counted as permitted */
    table_remove(t, &key, table_hash(t, &key));
  }
}

static int adopt(struct table *t) {
  uint8_t *found = entries_found(t);
  if (!found) return -1;
  for (uint32_t i = 0; i < t->total; i++) adopt_entry(t, i, found[i]);
  free(found);
  return 0;
}

static int fits_control(const struct table *t) {
  const struct table_control *c = t->control;
  return c->layout == TABLE_LAYOUT && c->capacity == t->capacity && c->refusals == t->refusal_slots &&
         c->total == t->total && c->mask == t->mask;
}

struct table *table_create_in(const struct table_space *space, uint32_t capacity, uint32_t refusals) {
  struct table *t = make_table(capacity, refusals);
  if (!t) return NULL;
  t->control = space->control;
  t->index = space->index;
  t->entries = space->entries;
  t->foreign = space->foreign;
  t->foreign_count = space->foreign_count;
  t->foreign_stride = space->foreign_stride;
  t->unused = t->total;
  t->vacant = calloc(vacant_words(t), sizeof *t->vacant);
  if (!t->refusals || !t->vacant) return give_up(t, ENOMEM);
  int is_new = t->control->layout == 0;
  if (is_new && start_control(t) < 0) return give_up(t, errno);
  if (!fits_control(t)) return give_up(t, EINVAL);
  take_control(t);
  if (is_new) {
    for (uint32_t i = 0; i < t->total; i++) put_free(t, i);
    return t;
  }
  return adopt(t) == 0 ? t : give_up(t, ENOMEM);
}
