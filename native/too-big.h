/*
 * ICMP "fragmentation needed" (RFC 792, RFC 1191) and ICMPv6 "packet too big" (RFC 4443) about packets with AH: reading
 * what a router says of one, and writing what the kernel of the sending host understands. Pure functions of bytes.
 */
#ifndef PBS_TOO_BIG_H
#define PBS_TOO_BIG_H

#include <stddef.h>
#include <stdint.h>

enum {
  TOO_BIG_MAX = 256,      /* bytes that too_big_write may need */
  TOO_BIG_INNER_LEAST = 8, /* bytes behind the IP header that the kernel wants */
  TOO_BIG_LEAST_IPV4 = 576,
  TOO_BIG_LEAST_IPV6 = 1280,
};

enum too_big_result {
  TOO_BIG_OK,
  TOO_BIG_OTHER,       /* another kind of message, or about a packet without AH */
  TOO_BIG_MALFORMED,   /* lengths or checksum are wrong, or it quotes too little to tell whose packet it was */
  TOO_BIG_IMPLAUSIBLE, /* not from this host; an MTU that the packet fits into, or below what every link takes */
};

/* What a router says. Pointers are into the message. */
struct too_big {
  uint8_t family;         /* 4 or 6 */
  uint32_t mtu;           /* largest packet that would pass */
  const uint8_t *router;  /* who says so; an address of the family's length, as are the next */
  const uint8_t *source;
  const uint8_t *destination;
  uint32_t length;        /* of the packet, or of its first fragment */
  uint32_t spi;
  uint32_t sequence;
  int has_sequence;       /* 0: so little is quoted that the number is not there */
  uint8_t next;           /* what comes behind AH */
  uint32_t ah_length;
  const uint8_t *inner;   /* what is quoted from there on */
  size_t inner_length;
};

/* Reads a whole datagram. */
enum too_big_result too_big_read(struct too_big *out, const uint8_t *bytes, size_t length);

/* A message to `to` about its packet to `destination`; addresses have the family's length. */
struct too_big_notice {
  uint8_t family;
  uint8_t protocol;       /* of the packet, behind the IP header */
  const uint8_t *from;
  const uint8_t *to;
  const uint8_t *destination;
  uint32_t length;        /* of the packet */
  uint16_t mtu;
  const uint8_t *inner;   /* what stands behind the IP header, at least TOO_BIG_INNER_LEAST bytes; not all are quoted */
  size_t inner_length;
};

/* Writes the whole datagram into TOO_BIG_MAX bytes. Its length. */
size_t too_big_write(uint8_t *out, const struct too_big_notice *notice);

#endif
