/* The 5-tuple as the engine keys it. JavaScript writes the same 40 bytes. */
#ifndef PBS_FLOW_H
#define PBS_FLOW_H

#include <stdint.h>
#ifdef __bpf__
#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memcmp __builtin_memcmp
#else
#include <string.h>
#endif

enum { FLOW_KEY_BYTES = 40, FLOW_KEY_WORDS = 5 };

/* An IPv4 address stands in the first 4 bytes, the others are zero. Ports: network order, 0 where there are none. */
struct flow_key {
  uint8_t source[16];
  uint8_t destination[16];
  uint16_t source_port;
  uint16_t destination_port;
  uint8_t protocol;
  uint8_t family; /* 4 or 6 */
  uint8_t zero[2];
};

_Static_assert(sizeof(struct flow_key) == FLOW_KEY_BYTES, "the key has no holes, so that memcmp compares it");

static inline int flow_key_equal(const struct flow_key *a, const struct flow_key *b) {
  return memcmp(a, b, FLOW_KEY_BYTES) == 0;
}

/* The flow of the opposite direction. */
static inline void flow_key_reverse(struct flow_key *out, const struct flow_key *key) {
  memcpy(out->source, key->destination, 16);
  memcpy(out->destination, key->source, 16);
  out->source_port = key->destination_port;
  out->destination_port = key->source_port;
  out->protocol = key->protocol;
  out->family = key->family;
  memset(out->zero, 0, sizeof out->zero);
}

#endif
