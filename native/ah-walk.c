#include "ah-walk.h"

#include <netinet/in.h>

enum { IPV4_MORE_AND_OFFSET = 0x3fff };

static int is_extension(uint8_t next) {
  return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS;
}

static enum ah_result walk_ipv4(struct ah_walk *w, const uint8_t *bytes, size_t length) {
  if (length < IPV4_FIXED) return AH_MALFORMED;
  size_t header = (size_t)(bytes[0] & 15) * 4;
  w->family = 4;
  w->length = ah_read16(bytes + 2);
  if (header < IPV4_FIXED || w->length < header || w->length > length) return AH_MALFORMED;
  if (ah_read16(bytes + 6) & IPV4_MORE_AND_OFFSET) return AH_FRAGMENT;
  w->at = w->insert_at = header;
  w->next_field = w->insert_next_field = 9;
  w->next = bytes[9];
  return AH_OK;
}

/* Hop-by-hop options come first or not at all (RFC 8200 section 4.1). */
static enum ah_result step(struct ah_walk *w, const uint8_t *bytes) {
  if (w->next == IPPROTO_HOPOPTS && w->at != IPV6_FIXED) return AH_MALFORMED;
  if (w->at + IPV6_UNIT > w->length) return AH_MALFORMED;
  size_t end = w->at + ((size_t)bytes[w->at + 1] + 1) * IPV6_UNIT;
  if (end > w->length || end > AH_HEADERS_MAX) return AH_MALFORMED;
  int before_ah = w->next != IPPROTO_DSTOPTS;
  w->next_field = w->at;
  w->next = bytes[w->at];
  w->at = end;
  if (before_ah) {
    w->insert_at = end;
    w->insert_next_field = w->next_field;
  }
  return AH_OK;
}

static enum ah_result walk_ipv6(struct ah_walk *w, const uint8_t *bytes, size_t length) {
  if (length < IPV6_FIXED) return AH_MALFORMED;
  w->family = 6;
  w->length = IPV6_FIXED + (uint32_t)ah_read16(bytes + 4);
  if (w->length > length) return AH_MALFORMED;
  w->at = w->insert_at = IPV6_FIXED;
  w->next_field = w->insert_next_field = 6;
  w->next = bytes[6];
  for (int i = 0; is_extension(w->next); i++) {
    if (i == AH_EXTENSIONS_MAX) return AH_MALFORMED;
    enum ah_result result = step(w, bytes);
    if (result != AH_OK) return result;
  }
  return w->next == IPPROTO_FRAGMENT ? AH_FRAGMENT : AH_OK;
}

enum ah_result ah_walk_headers(struct ah_walk *w, const uint8_t *bytes, size_t length) {
  if (length < 1) return AH_MALFORMED;
  switch (bytes[0] >> 4) {
    case 4:
      return walk_ipv4(w, bytes, length);
    case 6:
      return walk_ipv6(w, bytes, length);
    default:
      return AH_MALFORMED;
  }
}

static uint16_t checksum(const uint8_t *header, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i < length; i += 2) sum += ah_read16(header + i);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

void ah_write_length(uint8_t *header, size_t length) {
  if (header[0] >> 4 == 6) {
    ah_write16(header + 4, length - IPV6_FIXED);
    return;
  }
  ah_write16(header + 2, length);
  ah_write16(header + 10, 0);
  ah_write16(header + 10, checksum(header, (size_t)(header[0] & 15) * 4));
}
