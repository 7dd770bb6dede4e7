#include "packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>

enum {
  IPV4_FIXED = 20,
  IPV6_FIXED = 40,
  TCP_FIXED = 20,
  UDP_FIXED = 8,
  ICMP_FIXED = 8,
  AH_FIXED = 12,
  /* As many extension headers as RFC 8200 recommends in one packet, with destination options twice, and some more. */
  MAX_EXTENSIONS = 8,
  /* Super-packets are cut by the path's MTU, which is not known here; Ethernet's is the usual one. */
  DEFAULT_MTU = 1500,
  MIN_SEGMENT = 8,
};

enum { TCP_FLAG_SYN = 0x02, TCP_OPTION_END = 0, TCP_OPTION_NOP = 1, TCP_OPTION_MSS = 2 };
enum { ICMP4_ECHO_REPLY = 0, ICMP4_ECHO = 8, ICMP6_ECHO = 128, ICMP6_ECHO_REPLY = 129 };

/* What is left to parse: bytes captured, and where the next header starts. */
struct cursor {
  const uint8_t *bytes;
  size_t captured;
  size_t length;
  size_t at;
};

static uint16_t read16(const uint8_t *p) { return (uint16_t)((p[0] << 8) | p[1]); }

static uint32_t read32(const uint8_t *p) { return (uint32_t)read16(p) << 16 | read16(p + 2); }

/* Whether `count` bytes are there from the cursor on; if not, why not. */
static enum packet_problem need(const struct cursor *c, size_t count) {
  if (c->at + count > c->length) return PACKET_MALFORMED;
  if (c->at + count > c->captured) return PACKET_HEADERS_TOO_LONG;
  return PACKET_FINE;
}

static uint16_t tcp_mss_option(const uint8_t *options, size_t length) {
  size_t i = 0;
  while (i < length && options[i] != TCP_OPTION_END) {
    if (options[i] == TCP_OPTION_NOP) {
      i++;
      continue;
    }
    if (i + 1 >= length || options[i + 1] < 2 || i + options[i + 1] > length) return 0;
    if (options[i] == TCP_OPTION_MSS && options[i + 1] == 4) return read16(options + i + 2);
    i += options[i + 1];
  }
  return 0;
}

static void take_ports(struct packet *out, const uint8_t *header) {
  memcpy(&out->key.source_port, header, 2);
  memcpy(&out->key.destination_port, header + 2, 2);
}

static enum packet_problem parse_tcp(struct packet *out, struct cursor *c) {
  enum packet_problem problem = need(c, TCP_FIXED);
  if (problem) return problem;
  const uint8_t *header = c->bytes + c->at;
  size_t length = (size_t)(header[12] >> 4) * 4;
  if (length < TCP_FIXED) return PACKET_MALFORMED;
  problem = need(c, length);
  if (problem) return problem;
  take_ports(out, header);
  if (header[13] & TCP_FLAG_SYN) out->mss = tcp_mss_option(header + TCP_FIXED, length - TCP_FIXED);
  out->header = (uint16_t)(c->at + length);
  return PACKET_FINE;
}

static enum packet_problem parse_udp(struct packet *out, struct cursor *c) {
  enum packet_problem problem = need(c, UDP_FIXED);
  if (problem) return problem;
  take_ports(out, c->bytes + c->at);
  out->header = (uint16_t)(c->at + UDP_FIXED);
  return PACKET_FINE;
}

static enum packet_problem parse_echo(struct packet *out, struct cursor *c, uint8_t request, uint8_t reply) {
  enum packet_problem problem = need(c, ICMP_FIXED);
  if (problem) return problem;
  uint8_t type = c->bytes[c->at];
  if (type != request && type != reply) return PACKET_NOT_A_FLOW;
  out->header = (uint16_t)(c->at + ICMP_FIXED);
  return PACKET_FINE;
}

static enum packet_problem parse_upper(struct packet *out, struct cursor *c, uint8_t protocol) {
  out->key.protocol = protocol;
  out->ip_header = (uint16_t)c->at;
  out->header = (uint16_t)c->at;
  switch (protocol) {
    case IPPROTO_TCP:
      return parse_tcp(out, c);
    case IPPROTO_UDP:
      return parse_udp(out, c);
    case IPPROTO_ICMP:
      return out->key.family == 4 ? parse_echo(out, c, ICMP4_ECHO, ICMP4_ECHO_REPLY) : PACKET_NOT_A_FLOW;
    case IPPROTO_ICMPV6:
      return out->key.family == 6 ? parse_echo(out, c, ICMP6_ECHO, ICMP6_ECHO_REPLY) : PACKET_NOT_A_FLOW;
    default:
      return PACKET_FINE;
  }
}

/* A super-packet's length field is 0 above 64 KiB, and then the length that the kernel gives counts. */
static size_t datagram_length(size_t stated, size_t full, int offloaded) {
  return offloaded ? full : stated;
}

/* AH stands once, in transport mode (RFC 4302 section 3.1.1): what follows is the flow's own protocol. */
static enum packet_problem parse_ah(struct packet *out, struct cursor *c, uint8_t *next) {
  enum packet_problem problem = need(c, AH_FIXED);
  if (problem) return problem;
  const uint8_t *header = c->bytes + c->at;
  size_t length = ((size_t)header[1] + 2) * 4;
  if (length < AH_FIXED) return PACKET_MALFORMED;
  problem = need(c, length);
  if (problem) return problem;
  *next = header[0];
  out->ah = (uint16_t)c->at;
  out->ah_length = (uint16_t)length;
  out->spi = read32(header + 4);
  out->sequence = read32(header + 8);
  c->at += length;
  return *next == IPPROTO_AH ? PACKET_MALFORMED : PACKET_FINE;
}

static enum packet_problem parse_ipv4(struct packet *out, struct cursor *c, size_t full) {
  enum packet_problem problem = need(c, IPV4_FIXED);
  if (problem) return problem;
  const uint8_t *header = c->bytes;
  size_t header_length = (size_t)(header[0] & 15) * 4;
  size_t length = datagram_length(read16(header + 2), full, out->offloaded);
  if (header_length < IPV4_FIXED || length < header_length || length > full) return PACKET_MALFORMED;
  if (read16(header + 6) & 0x3fff) return PACKET_FRAGMENT;
  c->length = length;
  problem = need(c, header_length);
  if (problem) return problem;
  out->key.family = 4;
  out->length = (uint32_t)length;
  memcpy(out->key.source, header + 12, 4);
  memcpy(out->key.destination, header + 16, 4);
  c->at = header_length;
  uint8_t next = header[9];
  problem = next == IPPROTO_AH ? parse_ah(out, c, &next) : PACKET_FINE;
  return problem ? problem : parse_upper(out, c, next);
}

static int is_options_header(uint8_t next) {
  return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS;
}

/* Walks over extension headers; on success the cursor stands at the upper protocol, which is in `*next`. */
static enum packet_problem skip_extensions(struct cursor *c, uint8_t *next) {
  for (int i = 0; is_options_header(*next); i++) {
    if (i == MAX_EXTENSIONS) return PACKET_HEADERS_TOO_LONG;
    enum packet_problem problem = need(c, 8);
    if (problem) return problem;
    size_t length = ((size_t)c->bytes[c->at + 1] + 1) * 8;
    *next = c->bytes[c->at];
    problem = need(c, length);
    if (problem) return problem;
    c->at += length;
  }
  return *next == IPPROTO_FRAGMENT ? PACKET_FRAGMENT : PACKET_FINE;
}

static enum packet_problem parse_ipv6(struct packet *out, struct cursor *c, size_t full) {
  enum packet_problem problem = need(c, IPV6_FIXED);
  if (problem) return problem;
  const uint8_t *header = c->bytes;
  size_t length = datagram_length(IPV6_FIXED + (size_t)read16(header + 4), full, out->offloaded);
  if (length > full) return PACKET_MALFORMED;
  c->length = length;
  out->key.family = 6;
  out->length = (uint32_t)length;
  memcpy(out->key.source, header + 8, 16);
  memcpy(out->key.destination, header + 24, 16);
  c->at = IPV6_FIXED;
  uint8_t next = header[6];
  problem = skip_extensions(c, &next);
  if (problem) return problem;
  if (next != IPPROTO_AH) return parse_upper(out, c, next);
  problem = parse_ah(out, c, &next);
  if (!problem) problem = skip_extensions(c, &next);
  return problem ? problem : parse_upper(out, c, next);
}

enum packet_problem packet_parse(struct packet *out, const uint8_t *bytes, size_t captured, size_t full,
                                 int offloaded) {
  struct cursor c = {.bytes = bytes, .captured = captured < full ? captured : full, .length = full, .at = 0};
  memset(out, 0, sizeof *out);
  out->offloaded = offloaded != 0;
  if (c.captured < 1 || full > UINT32_MAX) return PACKET_MALFORMED;
  switch (bytes[0] >> 4) {
    case 4:
      return parse_ipv4(out, &c, full);
    case 6:
      return parse_ipv6(out, &c, full);
    default:
      return PACKET_MALFORMED;
  }
}

/* Payload bytes a datagram on the wire can carry. RFC 6691: options are taken out of the MSS. */
static uint32_t segment_payload(const struct packet *packet, uint16_t mss) {
  uint32_t datagram = DEFAULT_MTU;
  if (packet->key.protocol == IPPROTO_TCP && mss != 0) {
    uint32_t announced = (packet->key.family == 4 ? IPV4_FIXED : IPV6_FIXED) + TCP_FIXED + (uint32_t)mss;
    if (announced < datagram) datagram = announced;
  }
  uint32_t least = (uint32_t)packet->header + MIN_SEGMENT;
  return (datagram < least ? least : datagram) - packet->header;
}

uint32_t packet_segments(const struct packet *packet, uint16_t mss) {
  if (!packet->offloaded) return 1;
  uint32_t payload = packet->length - packet->header;
  uint32_t size = segment_payload(packet, mss);
  uint32_t segments = payload / size + (payload % size != 0);
  return segments == 0 ? 1 : segments;
}

uint64_t packet_wire_bytes(const struct packet *packet, uint32_t segments) {
  return (uint64_t)packet->length + (uint64_t)(segments - 1) * packet->header;
}
