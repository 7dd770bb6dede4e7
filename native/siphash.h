/*
 * SipHash (Aumasson, Bernstein 2012) over whole 64-bit words. The key is random, so nobody can choose flows
 * that fall onto each other in the table.
 */
#ifndef PBS_SIPHASH_H
#define PBS_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#ifdef __bpf__
#define le64toh(word) (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? (word) : __builtin_bswap64(word))
#else
#include <endian.h>
#endif

struct sip_state {
  uint64_t v0, v1, v2, v3;
};

static inline uint64_t sip_rotate(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }

static inline void sip_rounds(struct sip_state *s, int rounds) {
  for (int i = 0; i < rounds; i++) {
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = sip_rotate(s->v1, 13) ^ s->v0;
    s->v3 = sip_rotate(s->v3, 16) ^ s->v2;
    s->v0 = sip_rotate(s->v0, 32) + s->v3;
    s->v2 += s->v1;
    s->v3 = sip_rotate(s->v3, 21) ^ s->v0;
    s->v1 = sip_rotate(s->v1, 17) ^ s->v2;
    s->v2 = sip_rotate(s->v2, 32);
  }
}

static inline void sip_word(struct sip_state *s, uint64_t word, int rounds) {
  s->v3 ^= word;
  sip_rounds(s, rounds);
  s->v0 ^= word;
}

/* SipHash-c-d of `count` words that lie little-endian in memory. */
static inline uint64_t siphash_words(const uint64_t key[2], const uint64_t *words, size_t count, int c, int d) {
  struct sip_state s = {
      key[0] ^ 0x736f6d6570736575ULL,
      key[1] ^ 0x646f72616e646f6dULL,
      key[0] ^ 0x6c7967656e657261ULL,
      key[1] ^ 0x7465646279746573ULL,
  };
  for (size_t i = 0; i < count; i++) sip_word(&s, le64toh(words[i]), c);
  sip_word(&s, (uint64_t)(count * 8) << 56, c);
  s.v2 ^= 0xff;
  sip_rounds(&s, d);
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

#endif
