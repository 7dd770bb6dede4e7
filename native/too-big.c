#include "too-big.h"

#include <netinet/in.h>
#include <string.h>

#include "ah-walk.h"

enum {
  ICMP_HEADER = 8,
  ICMP4_UNREACHABLE = 3,
  ICMP4_FRAGMENTATION_NEEDED = 4,
  ICMP6_TOO_BIG = 2,
  AH_ROUTER_QUOTES = 8, /* RFC 792 asks for no more bytes behind the IP header: they end with the SPI */
  IPV4_OFFSET = 0x1fff,
  IPV6_OFFSET = 0xfff8,
  INNER_MOST = 64,
  HOPS = 64,
};

static size_t address_length(int family) { return family == 4 ? 4 : 16; }

static uint32_t add(uint32_t sum, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i + 1 < length; i += 2) sum += ah_read16(bytes + i);
  return length & 1 ? sum + (uint32_t)(bytes[length - 1] << 8) : sum;
}

static uint16_t fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* ICMPv6 has a pseudo-header (RFC 4443 section 2.3). Zero for a message that is whole. */
static uint16_t checksum(int family, const uint8_t *addresses, const uint8_t *icmp, size_t length) {
  uint32_t sum = add(0, icmp, length);
  if (family == 6) sum = add(sum, addresses, 32) + (uint32_t)length + IPPROTO_ICMPV6;
  return fold(sum);
}

/* ---- Reading ---- */

struct message {
  const uint8_t *bytes; /* the ICMP message */
  size_t length;
};

static enum too_big_result find_ipv4(struct too_big *out, struct message *m, const uint8_t *bytes, size_t length) {
  if (length < IPV4_FIXED) return TOO_BIG_MALFORMED;
  size_t header = (size_t)(bytes[0] & 15) * 4, total = ah_read16(bytes + 2);
  if (header < IPV4_FIXED || total > length || total < header + ICMP_HEADER) return TOO_BIG_MALFORMED;
  if (bytes[9] != IPPROTO_ICMP) return TOO_BIG_OTHER;
  *m = (struct message){bytes + header, total - header};
  if (m->bytes[0] != ICMP4_UNREACHABLE || m->bytes[1] != ICMP4_FRAGMENTATION_NEEDED) return TOO_BIG_OTHER;
  out->router = bytes + 12;
  out->source = bytes + 16;
  out->mtu = ah_read16(m->bytes + 6);
  return checksum(4, NULL, m->bytes, m->length) == 0 ? TOO_BIG_OK : TOO_BIG_MALFORMED;
}

static enum too_big_result find_ipv6(struct too_big *out, struct message *m, const uint8_t *bytes, size_t length) {
  struct ah_walk w;
  if (ah_walk_headers(&w, bytes, length) != AH_OK) return TOO_BIG_MALFORMED;
  if (w.next != IPPROTO_ICMPV6) return TOO_BIG_OTHER;
  if (w.at + ICMP_HEADER > w.length) return TOO_BIG_MALFORMED;
  *m = (struct message){bytes + w.at, w.length - w.at};
  if (m->bytes[0] != ICMP6_TOO_BIG) return TOO_BIG_OTHER;
  out->router = bytes + 8;
  out->source = bytes + 24;
  out->mtu = ah_read32(m->bytes + 4);
  return checksum(6, bytes + 8, m->bytes, m->length) == 0 ? TOO_BIG_OK : TOO_BIG_MALFORMED;
}

/* Where the headers of a quoted packet end, which is cut short. */
struct quoted {
  const uint8_t *bytes;
  size_t length;
  size_t at;
  uint8_t next;
};

static enum too_big_result quoted_ipv4(struct too_big *out, struct quoted *q) {
  if (q->length < IPV4_FIXED || q->bytes[0] >> 4 != 4) return TOO_BIG_MALFORMED;
  q->at = (size_t)(q->bytes[0] & 15) * 4;
  if (q->at < IPV4_FIXED || (ah_read16(q->bytes + 6) & IPV4_OFFSET)) return TOO_BIG_MALFORMED;
  q->next = q->bytes[9];
  out->length = ah_read16(q->bytes + 2);
  out->destination = q->bytes + 16;
  return memcmp(q->bytes + 12, out->source, 4) == 0 ? TOO_BIG_OK : TOO_BIG_IMPLAUSIBLE;
}

static int may_stand_before(uint8_t next) {
  return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT;
}

static enum too_big_result quoted_ipv6(struct too_big *out, struct quoted *q) {
  if (q->length < IPV6_FIXED || q->bytes[0] >> 4 != 6) return TOO_BIG_MALFORMED;
  q->at = IPV6_FIXED;
  q->next = q->bytes[6];
  for (int i = 0; may_stand_before(q->next); i++) {
    if (i == AH_EXTENSIONS_MAX || q->at + IPV6_UNIT > q->length) return TOO_BIG_MALFORMED;
    const uint8_t *header = q->bytes + q->at;
    int fragment = q->next == IPPROTO_FRAGMENT;
    if (fragment && (ah_read16(header + 2) & IPV6_OFFSET)) return TOO_BIG_MALFORMED;
    q->at += fragment ? IPV6_UNIT : ((size_t)header[1] + 1) * IPV6_UNIT;
    q->next = header[0];
  }
  out->length = IPV6_FIXED + (uint32_t)ah_read16(q->bytes + 4);
  out->destination = q->bytes + 24;
  return memcmp(q->bytes + 8, out->source, 16) == 0 ? TOO_BIG_OK : TOO_BIG_IMPLAUSIBLE;
}

/* In 32-bit words, 64-bit words for ICMPv6, when there is something behind the quote (RFC 4884); else 0. */
static size_t stated_quote_length(const struct too_big *t, const struct message *m) {
  return t->family == 4 ? (size_t)m->bytes[5] * 4 : 0;
}

static enum too_big_result read_quote(struct too_big *out, const struct message *m) {
  struct quoted q = {.bytes = m->bytes + ICMP_HEADER, .length = m->length - ICMP_HEADER};
  size_t stated = stated_quote_length(out, m);
  if (stated != 0 && stated < q.length) q.length = stated;
  enum too_big_result result = out->family == 4 ? quoted_ipv4(out, &q) : quoted_ipv6(out, &q);
  if (result != TOO_BIG_OK) return result;
  if (q.next != IPPROTO_AH) return TOO_BIG_OTHER;
  if (q.at + AH_ROUTER_QUOTES > q.length) return TOO_BIG_MALFORMED;
  const uint8_t *ah = q.bytes + q.at;
  out->next = ah[0];
  out->ah_length = ((uint32_t)ah[1] + 2) * 4;
  out->spi = ah_read32(ah + 4);
  out->has_sequence = q.at + AH_FIXED <= q.length;
  out->sequence = out->has_sequence ? ah_read32(ah + 8) : 0;
  size_t inner = q.at + out->ah_length;
  out->inner = inner < q.length ? q.bytes + inner : NULL;
  out->inner_length = inner < q.length ? q.length - inner : 0;
  return out->ah_length < AH_FIXED || inner > out->length ? TOO_BIG_MALFORMED : TOO_BIG_OK;
}

/* Routers before RFC 1191 say no MTU: then the next lower size that links have (section 7 there). */
static uint32_t next_plateau(uint32_t length) {
  static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, TOO_BIG_LEAST_IPV4};
  for (size_t i = 0; i < sizeof plateaus / sizeof *plateaus; i++)
    if (plateaus[i] < length) return plateaus[i];
  return 0;
}

static enum too_big_result plausible(struct too_big *t) {
  if (t->family == 4 && t->mtu == 0) t->mtu = next_plateau(t->length);
  uint32_t least = t->family == 4 ? TOO_BIG_LEAST_IPV4 : TOO_BIG_LEAST_IPV6;
  return t->mtu >= least && t->mtu < t->length ? TOO_BIG_OK : TOO_BIG_IMPLAUSIBLE;
}

enum too_big_result too_big_read(struct too_big *out, const uint8_t *bytes, size_t length) {
  struct message m;
  memset(out, 0, sizeof *out);
  out->family = length < 1 ? 0 : bytes[0] >> 4;
  if (out->family != 4 && out->family != 6) return TOO_BIG_MALFORMED;
  enum too_big_result result =
      out->family == 4 ? find_ipv4(out, &m, bytes, length) : find_ipv6(out, &m, bytes, length);
  if (result == TOO_BIG_OK) result = read_quote(out, &m);
  return result == TOO_BIG_OK ? plausible(out) : result;
}

/* ---- Writing ---- */

static size_t write_header(uint8_t *out, int family, uint8_t protocol, const uint8_t *from, const uint8_t *to,
                           size_t length) {
  size_t header = family == 4 ? IPV4_FIXED : IPV6_FIXED, address = address_length(family);
  memset(out, 0, header);
  out[0] = family == 4 ? 0x45 : 0x60;
  out[family == 4 ? 8 : 7] = HOPS;
  out[family == 4 ? 9 : 6] = protocol;
  memcpy(out + header - 2 * address, from, address);
  memcpy(out + header - address, to, address);
  ah_write_length(out, length);
  return header;
}

size_t too_big_write(uint8_t *out, const struct too_big_notice *n) {
  size_t header = n->family == 4 ? IPV4_FIXED : IPV6_FIXED;
  size_t inner = n->inner_length < INNER_MOST ? n->inner_length : INNER_MOST;
  size_t total = header + ICMP_HEADER + header + inner;
  uint8_t *icmp = out + header;
  write_header(out, n->family, n->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, n->from, n->to, total);
  memset(icmp, 0, ICMP_HEADER);
  icmp[0] = n->family == 4 ? ICMP4_UNREACHABLE : ICMP6_TOO_BIG;
  icmp[1] = n->family == 4 ? ICMP4_FRAGMENTATION_NEEDED : 0;
  ah_write16(icmp + 6, n->mtu);
  write_header(icmp + ICMP_HEADER, n->family, n->protocol, n->to, n->destination, n->length);
  memcpy(icmp + ICMP_HEADER + header, n->inner, inner);
  ah_write16(icmp + 2, checksum(n->family, out + 8, icmp, total - header));
  return total;
}
