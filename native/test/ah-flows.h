/* Flows with AH for the tests: an engine without queues, and packets as they come out of one. */
#ifndef PBS_AH_FLOWS_H
#define PBS_AH_FLOWS_H

#include <stdlib.h>

#include "../clock.h"
#include "../engine.h"
#include "build-packet.h"

enum { AH_NOW_LIFETIME = 1000 };

/* IPv4 and UDP from port 4000; `flow` is in the source address. */
static inline struct built flow_packet(uint16_t flow, size_t payload) {
  struct built b;
  begin4(&b, 17, 0);
  put16(b.bytes + 14, flow);
  put_udp(&b, payload);
  finish(&b);
  return b;
}

static inline struct packet parsed_packet(const struct built *b) {
  struct packet packet;
  packet_parse(&packet, b->bytes, b->length, b->length, 0);
  return packet;
}

static inline struct engine *table_engine(uint32_t capacity, int enforce) {
  struct engine_options options = {
      .capacity = capacity, .refusals = 16, .enforce = enforce, .hold_packets = 1, .hold_per_flow = 1};
  struct engine_failure failure;
  return engine_open(&options, NULL, NULL, &failure);
}

/* HMAC-SHA-256 with a key of which every byte is `byte`. */
static inline struct association *mac_association(uint32_t spi, uint8_t byte, enum protection_action action) {
  uint8_t key[32];
  memset(key, byte, sizeof key);
  return association_create(spi, AH_HMAC_SHA256_128, action,
                            ah_key_create(AH_HMAC_SHA256_128, key, sizeof key, action == PROTECT_INSERT));
}

/* `association` NULL: without AH. */
static inline enum permit_result permit_flow(struct engine *e, uint16_t flow, uint64_t allowed,
                                             struct association *association, uint64_t overlap_bytes) {
  struct built b = flow_packet(flow, 0);
  struct packet packet = parsed_packet(&b);
  struct permission permission = {.allowed = allowed,
                                  .expires = clock_now() + AH_NOW_LIFETIME * NANOSECONDS_PER_SECOND,
                                  .notify_at = NO_THRESHOLD};
  struct authentication wanted = {.association = association,
                                  .overlap = 100 * NANOSECONDS_PER_SECOND,
                                  .overlap_bytes = overlap_bytes};
  enum permit_result result;
  engine_permit(e, &packet.key, table_hash(e->table, &packet.key), &permission, &wanted, &result);
  return result;
}

/* The packet with AH, as a sender would send it. */
static inline struct built with_ah(const struct built *plain, struct ah_key *key, uint32_t spi, uint32_t sequence) {
  struct ah_scratch *scratch = ah_scratch_create();
  struct built out;
  size_t length = 0;
  ah_insert(scratch, key, spi, sequence, plain->bytes, plain->length, out.bytes, sizeof out.bytes, &length);
  out.length = length;
  ah_scratch_destroy(scratch);
  return out;
}

static inline struct built with_mac(const struct built *plain, uint32_t spi, uint8_t byte, uint32_t sequence) {
  uint8_t bytes[32];
  memset(bytes, byte, sizeof bytes);
  struct ah_key *key = ah_key_create(AH_HMAC_SHA256_128, bytes, sizeof bytes, 1);
  struct built out = with_ah(plain, key, spi, sequence);
  ah_key_destroy(key);
  return out;
}

#endif
