#include "ah-cover.h"

#include <netinet/in.h>
#include <string.h>

enum {
  OPTION4_END = 0,
  OPTION4_NOP = 1,
  OPTION4_SECURITY = 130,
  OPTION4_LOOSE_ROUTE = 131,
  OPTION4_EXTENDED_SECURITY = 133,
  OPTION4_COMMERCIAL_SECURITY = 134,
  OPTION4_STRICT_ROUTE = 137,
  OPTION4_ROUTER_ALERT = 148,
  OPTION4_MULTI_DESTINATION = 149,
};

enum { OPTION6_PAD1 = 0, OPTION6_MUTABLE = 0x20 };

/* Routing headers whose list of addresses is walked through by swapping with the destination (RFC 2460, RFC 6275). */
enum { ROUTING_SOURCE = 0, ROUTING_HOME_ADDRESS = 2, ADDRESS6 = 16 };

/* Options whose every byte reaches the receiver as it was sent: RFC 4302 appendix A1. */
static int is_immutable4(uint8_t type) {
  switch (type) {
    case OPTION4_SECURITY:
    case OPTION4_EXTENDED_SECURITY:
    case OPTION4_COMMERCIAL_SECURITY:
    case OPTION4_ROUTER_ALERT:
    case OPTION4_MULTI_DESTINATION:
      return 1;
    default:
      return 0;
  }
}

/* The last address of a source route is the destination until the route is used up. */
static int take_final_destination4(uint8_t *header, const uint8_t *option, size_t length) {
  if (length < 3) return -1;
  if (option[2] > length) return 0;
  if (length < 7) return -1;
  memcpy(header + 16, option + length - 4, 4);
  return 0;
}

static enum ah_result clear_options4(uint8_t *header, size_t end) {
  for (size_t at = IPV4_FIXED; at < end && header[at] != OPTION4_END;) {
    uint8_t *option = header + at;
    if (*option == OPTION4_NOP) {
      at++;
      continue;
    }
    if (at + 2 > end || option[1] < 2 || at + option[1] > end) return AH_MALFORMED;
    size_t length = option[1];
    int routes = *option == OPTION4_LOOSE_ROUTE || *option == OPTION4_STRICT_ROUTE;
    if (routes && take_final_destination4(header, option, length) < 0) return AH_MALFORMED;
    if (!is_immutable4(*option)) memset(option, 0, length);
    at += length;
  }
  return AH_OK;
}

static enum ah_result clear_ipv4(uint8_t *header, size_t end) {
  header[1] = 0;             /* DSCP, ECN */
  ah_write16(header + 6, 0); /* flags; there is no offset */
  header[8] = 0;             /* TTL */
  ah_write16(header + 10, 0);
  return clear_options4(header, end);
}

/* In hop-by-hop and destination options before AH. */
static enum ah_result clear_options6(uint8_t *extension, size_t length) {
  for (size_t at = 2; at < length;) {
    if (extension[at] == OPTION6_PAD1) {
      at++;
      continue;
    }
    if (at + 2 > length || at + 2 + extension[at + 1] > length) return AH_MALFORMED;
    if (extension[at] & OPTION6_MUTABLE) memset(extension + at + 2, 0, extension[at + 1]);
    at += 2 + (size_t)extension[at + 1];
  }
  return AH_OK;
}

/* Each node still to come swaps its address in the list with the destination. */
static void route_to_the_end(uint8_t *header, uint8_t *remaining, size_t count) {
  uint8_t last[ADDRESS6], *destination = header + 24;
  memcpy(last, remaining + (count - 1) * ADDRESS6, ADDRESS6);
  memmove(remaining + ADDRESS6, remaining, (count - 1) * ADDRESS6);
  memcpy(remaining, destination, ADDRESS6);
  memcpy(destination, last, ADDRESS6);
}

/* As it will be at arrival; how those of other types get there is not known. */
static enum ah_result settle_routing(uint8_t *header, uint8_t *extension, size_t length) {
  size_t left = extension[3], addresses = (length - IPV6_UNIT) / ADDRESS6;
  if (left == 0) return AH_OK;
  if (extension[2] != ROUTING_SOURCE && extension[2] != ROUTING_HOME_ADDRESS) return AH_MALFORMED;
  if (left > addresses || (length - IPV6_UNIT) % ADDRESS6 != 0) return AH_MALFORMED;
  route_to_the_end(header, extension + IPV6_UNIT + (addresses - left) * ADDRESS6, left);
  extension[3] = 0;
  return AH_OK;
}

/* `end` is where AH begins: the headers up to there were walked through before. */
static enum ah_result clear_ipv6(uint8_t *header, size_t end) {
  uint8_t next = header[6];
  memset(header + 1, 0, 3); /* the other half of the traffic class, and the flow label */
  header[0] = 0x60;
  header[7] = 0; /* hop limit */
  for (size_t at = IPV6_FIXED; at < end;) {
    uint8_t *extension = header + at;
    size_t length = ((size_t)extension[1] + 1) * IPV6_UNIT;
    enum ah_result result = next == IPPROTO_ROUTING ? settle_routing(header, extension, length)
                                                    : clear_options6(extension, length);
    if (result != AH_OK) return result;
    next = extension[0];
    at += length;
  }
  return AH_OK;
}

enum ah_result ah_cover(struct ah_cover *c, const uint8_t *bytes, const struct ah_place *place, size_t icv_length) {
  size_t head = (size_t)place->at + place->ah_length;
  memcpy(c->head, bytes, head);
  memset(c->head + place->at + AH_FIXED, 0, icv_length);
  c->pieces[0] = (struct piece){c->head, head};
  c->pieces[1] = (struct piece){bytes + head, place->length - head};
  return place->family == 4 ? clear_ipv4(c->head, place->at) : clear_ipv6(c->head, place->at);
}
