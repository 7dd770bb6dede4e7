/* From the bytes of an IP datagram to its flow, also through an Authentication Header. A pure function: no state, no clock, nothing but the bytes given. */
#ifndef PBS_PACKET_H
#define PBS_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "flow.h"
#include "places.h"

enum packet_problem {
  PACKET_FINE,
  PACKET_MALFORMED, /* lengths or versions that contradict each other */
  PACKET_HEADERS_TOO_LONG, /* the headers do not end within the bytes captured */
  PACKET_FRAGMENT,
  PACKET_NOT_A_FLOW, /* ICMP other than echo */
};

struct packet {
  struct flow_key key;
  uint32_t length;     /* bytes of the whole IP datagram, or super-packet */
  uint16_t ip_header;  /* IP header with options and extension headers, an Authentication Header among them */
  uint16_t header;     /* the same with the TCP or UDP header */
  uint16_t mss;        /* MSS option of a SYN; 0 if there is none */
  uint16_t offloaded;  /* 1: a segment-offload super-packet */
  uint16_t ah;         /* where the Authentication Header is; 0: there is none */
  uint16_t ah_length;  /* bytes of it, ICV and padding included */
  uint32_t spi;        /* of that header, as is `sequence` */
  uint32_t sequence;
  place_name place;     /* where it came in, as whoever took it from there says; packet_parse does not know */
};

/*
 * Parses the first `captured` bytes of a datagram of `full` bytes. `offloaded` says that it is a super-packet,
 * whose length fields may be 0 or stand for all its segments. On any problem `*out` has no meaning.
 */
enum packet_problem packet_parse(struct packet *out, const uint8_t *bytes, size_t captured, size_t full,
                                 int offloaded);

/* How many datagrams on the wire this is: 1 unless it is offloaded. `mss` is what the peer announced, 0 if unknown. */
uint32_t packet_segments(const struct packet *packet, uint16_t mss);

/* Bytes of whole IP datagrams on the wire: payload once, headers once a segment. */
uint64_t packet_wire_bytes(const struct packet *packet, uint32_t segments);

#endif
