/* The flow table of native/table.h, as programs look into it. */
#ifndef PBS_BPF_TABLE_H
#define PBS_BPF_TABLE_H

#include "../siphash.h"
#include "parse.h"

enum { MAX_DISTANCE = 16 /* buckets that a lookup goes through */ };

enum finding { FOUND, NOT_THERE, CANNOT_TELL };

static __always_inline int same_flow(const struct entry *entry, const union flow *flow) {
  const uint64_t *words = (const uint64_t *)&entry->key;
  uint64_t differs = 0;
#pragma unroll
  for (int i = 0; i < FLOW_KEY_WORDS; i++) differs |= words[i] ^ flow->words[i];
  return differs == 0;
}

static __always_inline uint64_t hash_of(const union flow *flow) {
  const uint64_t key[2] = {setting.key[0], setting.key[1]};
  return siphash_words(key, flow->words, FLOW_KEY_WORDS, 1, 3);
}

/* Where the entry most likely is. It and the bucket that will tell otherwise are then on their way into the cache. */
static __always_inline struct entry *fetch(uint64_t hash) {
  uint32_t number = preferred_entry(hash, setting.total), at = (uint32_t)(hash & setting.mask);
  uint64_t unused;
  struct entry *entry = bpf_map_lookup_elem(&pbs_entries, &number);
  struct bucket *bucket = bpf_map_lookup_elem(&pbs_index, &at);
  if (!entry || !bucket) return 0;
  asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(unused) : "r"(entry));
  asm volatile("%0 = *(u64 *)(%1 + 64)" : "=r"(unused) : "r"(entry));
  asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(unused) : "r"(bucket));
  return entry;
}

/*
 * Whether an entry that the index was not asked about is the flow's. In this order: once it is seen to be in use, its key
 * stays until this processor has left. Only x86 keeps the order of loads without being told.
 */
static __always_inline int is_of(const struct entry *entry, const union flow *flow) {
#ifdef __TARGET_ARCH_x86
  if (*(const volatile uint64_t *)&entry->term == TERM_NONE) return 0;
  asm volatile("" ::: "memory");
  return same_flow(entry, flow);
#else
  return 0;
#endif
}

static __always_inline enum finding find(const union flow *flow, uint64_t hash, struct entry **out) {
  for (uint32_t distance = 0; distance < MAX_DISTANCE; distance++) {
    uint32_t at = (uint32_t)((hash + distance) & setting.mask);
    struct bucket *bucket = bpf_map_lookup_elem(&pbs_index, &at);
    if (!bucket) return CANNOT_TELL;
#pragma unroll
    for (int i = 0; i < BUCKET_WORDS; i++) {
      uint64_t word = *(volatile uint64_t *)&bucket->word[i];
      if (!word_matches(word, hash)) continue;
      uint32_t number = word_entry(word);
      struct entry *entry = bpf_map_lookup_elem(&pbs_entries, &number);
      if (!entry || !same_flow(entry, flow)) continue;
      *out = entry;
      return FOUND;
    }
    if (*(volatile uint64_t *)&bucket->passed == 0) return NOT_THERE;
  }
  return CANNOT_TELL;
}

/* An entry that is found from here on is used for no other flow until this processor has left. */
static __always_inline void enter(const struct table_control *control, struct xdp_processor *here) {
  __sync_lock_test_and_set(&here->reader.epoch, *(volatile uint64_t *)&control->epoch);
}

static __always_inline void leave(struct xdp_processor *here) {
#ifdef __TARGET_ARCH_x86
  asm volatile("" ::: "memory");
  *(volatile uint64_t *)&here->reader.epoch = READER_OUTSIDE;
#else
  __sync_lock_test_and_set(&here->reader.epoch, READER_OUTSIDE);
#endif
}

#endif
