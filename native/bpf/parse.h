/* From a frame to its flow. Lengths are bounded by what the verifier can follow; what is beyond goes to the stack. */
#ifndef PBS_BPF_PARSE_H
#define PBS_BPF_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>

#include "maps.h"

enum {
  GIST_PORT = 270,
  MAX_TAGS = 2,
  PADDED = 64, /* bytes that Ethernet fills short frames up to, with the checksum that some drivers leave on */
  AH_FIXED = 12,
  MAX_EXTENSIONS = 8,
  ECHO4 = 8,
  ECHO4_REPLY = 0,
  ECHO6 = 128,
  ECHO6_REPLY = 129,
};

#define IP4_FRAGMENT 0x3fff /* more fragments, or an offset */

union flow {
  struct flow_key key;
  uint64_t words[FLOW_KEY_WORDS];
};

struct packet {
  union flow flow;
  uint16_t length;  /* of the IP datagram */
  uint8_t tos;      /* IPv6: traffic class */
  uint8_t unusual;  /* if it is permitted, the stack does the rest */
  uint8_t ah;       /* it has an Authentication Header */
};

/* What is left of the frame's first piece. */
struct cursor {
  void *at;
  void *end;
};

/* Minus the counter of a packet that goes to the stack; or 0. */
#define TO_STACK(reason) (-(XDP_##reason) - 1)

#define has(cursor, count) ((cursor)->at + (count) <= (cursor)->end)

static __always_inline int parse_tcp(struct packet *p, struct cursor *c, uint32_t left) {
  struct tcphdr *tcp = c->at;
  if (!has(c, sizeof *tcp)) return TO_STACK(PASS_UNUSUAL);
  if (tcp->doff < 5 || left < tcp->doff * 4u) return TO_STACK(PASS_UNUSUAL);
  p->flow.key.source_port = tcp->source;
  p->flow.key.destination_port = tcp->dest;
  /* The stack learns the segment size, and may mend it. */
  p->unusual |= tcp->syn;
  return 0;
}

static __always_inline int parse_udp(struct packet *p, struct cursor *c, uint32_t left) {
  struct udphdr *udp = c->at;
  if (!has(c, sizeof *udp) || left < sizeof *udp) return TO_STACK(PASS_UNUSUAL);
  p->flow.key.source_port = udp->source;
  p->flow.key.destination_port = udp->dest;
  if (udp->source == bpf_htons(GIST_PORT) || udp->dest == bpf_htons(GIST_PORT)) return TO_STACK(PASS_SIGNALLING);
  return 0;
}

static __always_inline int parse_echo(struct cursor *c, uint32_t left, uint8_t request, uint8_t reply) {
  uint8_t *type = c->at;
  if (!has(c, 8) || left < 8) return TO_STACK(PASS_UNUSUAL);
  return *type == request || *type == reply ? 0 : TO_STACK(PASS_ICMP);
}

/* `left`: bytes of the datagram from the cursor on. */
static __always_inline int parse_flow(struct packet *p, struct cursor *c, uint8_t protocol, uint32_t left) {
  p->flow.key.protocol = protocol;
  switch (protocol) {
    case IPPROTO_TCP:
      return parse_tcp(p, c, left);
    case IPPROTO_UDP:
      return parse_udp(p, c, left);
    case IPPROTO_ICMP:
      return p->flow.key.family == 4 ? parse_echo(c, left, ECHO4, ECHO4_REPLY) : TO_STACK(PASS_UNUSUAL);
    case IPPROTO_ICMPV6:
      return p->flow.key.family == 6 ? parse_echo(c, left, ECHO6, ECHO6_REPLY) : TO_STACK(PASS_UNUSUAL);
    default:
      return 0;
  }
}

static __always_inline int is_options_header(uint8_t next) {
  return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS;
}

/* AH stands once, and before the flow's own protocol; what has more headers behind it goes to the stack. */
static __always_inline int parse_upper(struct packet *p, struct cursor *c, uint8_t protocol, uint32_t left) {
  if (protocol != IPPROTO_AH) return parse_flow(p, c, protocol, left);
  uint8_t *header = c->at;
  if (!has(c, AH_FIXED)) return TO_STACK(PASS_AUTHENTICATED);
  uint32_t length = (header[1] + 2u) * 4;
  uint8_t next = header[0];
  if (length < AH_FIXED || left < length || next == IPPROTO_AH || next == IPPROTO_FRAGMENT || is_options_header(next))
    return TO_STACK(PASS_AUTHENTICATED);
  p->ah = 1;
  c->at += length;
  return parse_flow(p, c, next, left - length);
}

/* Of a header without options; 0 when it is right. */
static __always_inline uint16_t header_sum(const struct iphdr *ip) {
  const uint32_t *words = (const uint32_t *)ip;
  uint64_t sum = 0;
#pragma unroll
  for (int i = 0; i < 5; i++) sum += words[i];
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

/* Addresses that no router forwards from: multicast and reserved, loopback, this network. */
static __always_inline int is_odd_source4(uint32_t address) {
  uint8_t first = (uint8_t)(bpf_ntohl(address) >> 24);
  return first >= 224 || first == 127 || first == 0;
}

static __always_inline int parse_ipv4(struct packet *p, struct cursor *c) {
  struct iphdr *ip = c->at;
  if (!has(c, sizeof *ip) || ip->version != 4 || ip->ihl < 5) return TO_STACK(PASS_UNUSUAL);
  uint32_t header = ip->ihl * 4u;
  p->length = bpf_ntohs(ip->tot_len);
  if (p->length < header || ip->ttl <= 1 || ip->frag_off & bpf_htons(IP4_FRAGMENT) || is_odd_source4(ip->saddr))
    return TO_STACK(PASS_UNUSUAL);
  if (header == sizeof *ip && header_sum(ip) != 0) return TO_STACK(PASS_UNUSUAL);
  p->unusual |= header != sizeof *ip;
  p->flow.key.family = 4;
  p->tos = ip->tos;
  memcpy(p->flow.key.source, &ip->saddr, 4);
  memcpy(p->flow.key.destination, &ip->daddr, 4);
  uint8_t protocol = ip->protocol;
  c->at += header;
  return parse_upper(p, c, protocol, p->length - header);
}

/* Link-local and multicast ones are never forwarded, nor the loopback and the unspecified address. */
static __always_inline int is_odd_address6(const struct in6_addr *address) {
  const uint32_t *words = address->in6_u.u6_addr32;
  uint32_t first = bpf_ntohl(words[0]);
  return first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6 ||
         ((words[0] | words[1] | words[2]) == 0 && bpf_ntohl(words[3]) <= 1);
}

static __always_inline int parse_ipv6(struct packet *p, struct cursor *c) {
  struct ipv6hdr *ip = c->at;
  if (!has(c, sizeof *ip) || ip->version != 6 || ip->hop_limit <= 1) return TO_STACK(PASS_UNUSUAL);
  if (is_odd_address6(&ip->saddr) || is_odd_address6(&ip->daddr)) return TO_STACK(PASS_UNUSUAL);
  uint32_t left = bpf_ntohs(ip->payload_len);
  if (left + sizeof *ip > UINT16_MAX) return TO_STACK(PASS_UNUSUAL);
  p->length = (uint16_t)(left + sizeof *ip);
  p->tos = (uint8_t)(bpf_ntohl(*(uint32_t *)ip) >> 20);
  p->flow.key.family = 6;
  memcpy(p->flow.key.source, &ip->saddr, 16);
  memcpy(p->flow.key.destination, &ip->daddr, 16);
  uint8_t next = ip->nexthdr;
  c->at += sizeof *ip;
  for (int i = 0; i < MAX_EXTENSIONS && is_options_header(next); i++) {
    uint8_t *extension = c->at;
    if (!has(c, 8)) return TO_STACK(PASS_UNUSUAL);
    uint32_t length = (extension[1] + 1u) * 8;
    if (left < length) return TO_STACK(PASS_UNUSUAL);
    next = extension[0];
    left -= length;
    c->at += length;
    p->unusual = 1;
  }
  if (is_options_header(next) || next == IPPROTO_FRAGMENT) return TO_STACK(PASS_UNUSUAL);
  return parse_upper(p, c, next, left);
}

struct tag {
  uint16_t control;
  uint16_t type;
};

static __always_inline int is_tag(uint16_t type) {
  return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

static __always_inline int is_ours(const uint8_t *address) {
#pragma unroll
  for (int i = 0; i < 6; i++)
    if (address[i] != setting.address[i]) return 0;
  return 1;
}

static __always_inline int parse_frame(struct packet *p, struct cursor *c, uint64_t frame_bytes) {
  struct ethhdr *ethernet = c->at;
  if (!has(c, sizeof *ethernet) || !is_ours(ethernet->h_dest)) return TO_STACK(PASS_OTHER);
  uint16_t type = ethernet->h_proto;
  uint32_t before = sizeof *ethernet;
  c->at += sizeof *ethernet;
#pragma unroll
  for (int i = 0; i < MAX_TAGS; i++) {
    if (!is_tag(type)) break;
    struct tag *tag = c->at;
    if (!has(c, sizeof *tag)) return TO_STACK(PASS_OTHER);
    type = tag->type;
    before += sizeof *tag;
    c->at += sizeof *tag;
    p->unusual = 1;
  }
  int problem = TO_STACK(PASS_OTHER);
  if (type == bpf_htons(ETH_P_IP)) problem = parse_ipv4(p, c);
  else if (type == bpf_htons(ETH_P_IPV6)) problem = parse_ipv6(p, c);
  if (problem) return problem;
  if (before + p->length > frame_bytes) return TO_STACK(PASS_UNUSUAL);
  /* What is behind a datagram is not counted, and the stack takes it off, as does the thread that sends those with AH. */
  p->unusual |= !p->ah && frame_bytes > PADDED && frame_bytes > before + p->length;
  return 0;
}

#endif
