/* The headers before AH, or before the place where AH would stand. */
#ifndef PBS_AH_WALK_H
#define PBS_AH_WALK_H

#include "ah.h"

enum { IPV4_FIXED = 20, IPV6_FIXED = 40, IPV6_UNIT = 8 };

/* Longer headers before AH than these are refused. */
enum { AH_HEADERS_MAX = 2048, AH_EXTENSIONS_MAX = 8 };

struct ah_walk {
  uint8_t family;
  uint32_t length;           /* of the datagram by its header */
  size_t at;                 /* where the headers end: at AH if `next` says so */
  size_t next_field;         /* the byte that says what comes there */
  uint8_t next;
  size_t insert_at;          /* where AH belongs, and the byte that would say so */
  size_t insert_next_field;
};

static inline uint16_t ah_read16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t ah_read32(const uint8_t *p) { return (uint32_t)ah_read16(p) << 16 | ah_read16(p + 2); }

static inline void ah_write16(uint8_t *p, size_t value) {
  p[0] = (uint8_t)(value >> 8);
  p[1] = (uint8_t)value;
}

static inline void ah_write32(uint8_t *p, uint32_t value) {
  ah_write16(p, value >> 16);
  ah_write16(p + 2, value & 0xffff);
}

/* Up to AH or the first header that may not stand before it. AH_OK, AH_MALFORMED or AH_FRAGMENT. */
enum ah_result ah_walk_headers(struct ah_walk *walk, const uint8_t *bytes, size_t length);

/* Puts lengths right, and the checksum of IPv4, after the packet changed to `length` bytes. */
void ah_write_length(uint8_t *header, size_t length);

#endif
