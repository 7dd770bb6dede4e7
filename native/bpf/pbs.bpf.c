/*
 * What a router does with packets before its stack sees them: the permitted are counted and forwarded, those without
 * permission dropped. Whatever is unusual goes to the stack, whose rules and queues decide about it with the same
 * table. A packet is counted by the one who sends or drops it, so nothing that is passed to the stack is counted here.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../siphash.h"
#include "../xdp-layout.h"

enum {
  GIST_PORT = 270,
  MAX_TAGS = 2,
  PADDED = 64, /* bytes that Ethernet fills short frames up to, with the checksum that some drivers leave on */
  AH_FIXED = 12,
  MAX_EXTENSIONS = 8,
  MAX_DISTANCE = 16, /* buckets that a lookup goes through */
  MAX_TRIES = 8,
  ECHO4 = 8,
  ECHO4_REPLY = 0,
  ECHO6 = 128,
  ECHO6_REPLY = 129,
  AF_INET = 2,
  AF_INET6 = 10,
  EVENT_THRESHOLD = 1, /* as in native/events.h */
  EVENT_EXHAUSTED = 2,
};

/* No kernel's coarse clock lags further behind. */
#define COARSE_NS 20000000

#define IP4_FRAGMENT 0x3fff /* more fragments, or an offset */

const volatile struct xdp_setting setting;

/* Sizes are set before loading. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct table_control);
} pbs_control SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct bucket);
} pbs_index SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct entry);
} pbs_entries SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct xdp_processor);
} pbs_processors SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} pbs_events SEC(".maps");

/* Interfaces that take frames from XDP. */
struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, __u32);
} pbs_egress SEC(".maps");

/* Interfaces whose queueing discipline is to have all that they send. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, __u32);
} pbs_shaped SEC(".maps");

/* Interfaces by which this process sends what is handed to it. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, __u32);
} pbs_served SEC(".maps");

/* Of this interface alone: by receive queue, who takes packets with AH. Empty while no process does. */
struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, XDP_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} pbs_queues SEC(".maps");

/* Sources whose every packet is dropped, and until when. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1);
  __type(key, struct xdp_source);
  __type(value, __u64);
} pbs_blocked SEC(".maps");

/* Of this interface alone: when each class, and each source of a class, has used up what came. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, XDP_CLASSES);
  __type(key, __u32);
  __type(value, __u64);
} pbs_totals SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, XDP_SOURCE_CELLS);
  __type(key, __u32);
  __type(value, __u64);
} pbs_sources SEC(".maps");

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

/* Number of the configured class that the packet belongs to, or -1. */
static __always_inline int exempt_class(const struct packet *p, int legacy) {
  uint16_t source = bpf_ntohs(p->flow.key.source_port), destination = bpf_ntohs(p->flow.key.destination_port);
  for (uint32_t i = 0; i < XDP_EXEMPTS && i < setting.exempts; i++) {
    const volatile struct xdp_exempt *e = &setting.exempt[i];
    uint64_t differs = (e->class == EXEMPT_LEGACY) != legacy;
#pragma unroll
    for (int w = 0; w < FLOW_KEY_WORDS; w++) differs |= (p->flow.words[w] & e->mask[w]) ^ e->value[w];
    if (differs == 0 && source >= e->source_from && source <= e->source_to && destination >= e->destination_from &&
        destination <= e->destination_to)
      return (int)(e->class & UINT8_MAX);
  }
  return -1;
}

/* The rules see AH over IPv4, and nothing of what is behind it: a class may be for just that. */
static __always_inline int exempt_as_ah(const struct packet *p) {
  struct packet outer = *p;
  outer.flow.key.protocol = IPPROTO_AH;
  outer.flow.key.source_port = outer.flow.key.destination_port = 0;
  return exempt_class(&outer, 0);
}

enum finding { FOUND, NOT_THERE, CANNOT_TELL };

static __always_inline int same_flow(const struct entry *entry, const union flow *flow) {
  const uint64_t *words = (const uint64_t *)&entry->key;
  uint64_t differs = 0;
#pragma unroll
  for (int i = 0; i < FLOW_KEY_WORDS; i++) differs |= words[i] ^ flow->words[i];
  return differs == 0;
}

static __always_inline uint64_t hash_of(const union flow *flow) {
  const uint64_t key[2] = {setting.key[0], setting.key[1]};
  return siphash_words(key, flow->words, FLOW_KEY_WORDS, 1, 3);
}

/* Where the entry most likely is. It and the bucket that will tell otherwise are then on their way into the cache. */
static __always_inline struct entry *fetch(uint64_t hash) {
  uint32_t number = preferred_entry(hash, setting.total), at = (uint32_t)(hash & setting.mask);
  uint64_t unused;
  struct entry *entry = bpf_map_lookup_elem(&pbs_entries, &number);
  struct bucket *bucket = bpf_map_lookup_elem(&pbs_index, &at);
  if (!entry || !bucket) return 0;
  asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(unused) : "r"(entry));
  asm volatile("%0 = *(u64 *)(%1 + 64)" : "=r"(unused) : "r"(entry));
  asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(unused) : "r"(bucket));
  return entry;
}

/*
 * Whether an entry that the index was not asked about is the flow's. In this order: once it is seen to be in use, its key
 * stays until this processor has left. Only x86 keeps the order of loads without being told.
 */
static __always_inline int is_of(const struct entry *entry, const union flow *flow) {
#ifdef __TARGET_ARCH_x86
  if (*(const volatile uint64_t *)&entry->term == TERM_NONE) return 0;
  asm volatile("" ::: "memory");
  return same_flow(entry, flow);
#else
  return 0;
#endif
}

static __always_inline enum finding find(const union flow *flow, uint64_t hash, struct entry **out) {
  for (uint32_t distance = 0; distance < MAX_DISTANCE; distance++) {
    uint32_t at = (uint32_t)((hash + distance) & setting.mask);
    struct bucket *bucket = bpf_map_lookup_elem(&pbs_index, &at);
    if (!bucket) return CANNOT_TELL;
#pragma unroll
    for (int i = 0; i < BUCKET_WORDS; i++) {
      uint64_t word = *(volatile uint64_t *)&bucket->word[i];
      if (!word_matches(word, hash)) continue;
      uint32_t number = word_entry(word);
      struct entry *entry = bpf_map_lookup_elem(&pbs_entries, &number);
      if (!entry || !same_flow(entry, flow)) continue;
      *out = entry;
      return FOUND;
    }
    if (*(volatile uint64_t *)&bucket->passed == 0) return NOT_THERE;
  }
  return CANNOT_TELL;
}

static __always_inline void count(struct xdp_processor *here, enum xdp_counter which) { here->of[which]++; }

static __always_inline int pass(struct xdp_processor *here, enum xdp_counter why) {
  count(here, why);
  return XDP_PASS;
}

static __always_inline int drop(struct xdp_processor *here, enum xdp_counter why) {
  count(here, why);
  return XDP_DROP;
}

/* Who loses a race for the bucket passes: the stack has its own behind. */
static __always_inline int has_room(uint64_t *bucket, const volatile struct xdp_rate *rate, uint32_t units) {
  uint64_t now = bpf_ktime_get_coarse_ns(), full = *(volatile uint64_t *)bucket;
  uint64_t from = full > now ? full : now;
  uint64_t until = from + ((units * rate->interval) >> XDP_INTERVAL_SHIFT);
  if (until > now + rate->tolerance) return 0;
  __sync_val_compare_and_swap(bucket, full, until);
  return 1;
}

/* IPv6: all of a /64 is one source. Several may share a cell. */
static __always_inline uint32_t source_cell(const struct packet *p, uint32_t class) {
  const uint64_t key[2] = {setting.key[0], setting.key[1] ^ class};
  const uint64_t source[1] = {p->flow.words[0]};
  return (uint32_t)siphash_words(key, source, 1, 1, 3) % XDP_SOURCE_CELLS;
}

/*
 * What the stack's rules would drop by their own, lower, rates is dropped here while it is cheap. One source's flood
 * does not take from the total what others could have.
 */
static __always_inline int within(const struct packet *p, uint32_t class, uint32_t units) {
  if (class >= XDP_CLASSES) return 1;
  const volatile struct xdp_bounds *bounds = &setting.bounds[class];
  if (bounds->source.interval != 0) {
    uint32_t cell = source_cell(p, class);
    uint64_t *bucket = bpf_map_lookup_elem(&pbs_sources, &cell);
    if (bucket && !has_room(bucket, &bounds->source, units)) return 0;
  }
  if (bounds->total.interval == 0) return 1;
  uint64_t *bucket = bpf_map_lookup_elem(&pbs_totals, &class);
  return !bucket || has_room(bucket, &bounds->total, units);
}

/* To the stack, which has a class for the packet. */
static __always_inline int pass_class(const struct packet *p, uint32_t class, struct xdp_processor *here) {
  switch (class) {
    case CLASS_SIGNALLING:
      return within(p, class, 1) ? pass(here, XDP_PASS_SIGNALLING) : drop(here, XDP_DROP_RATE_SIGNALLING);
    case CLASS_ICMP:
      return within(p, class, 1) ? pass(here, XDP_PASS_ICMP) : drop(here, XDP_DROP_RATE_ICMP);
    case CLASS_OPEN:
      return within(p, class, p->length) ? pass(here, XDP_PASS_OPEN) : drop(here, XDP_DROP_RATE_OPEN);
    default:
      return within(p, class, 1) ? pass(here, XDP_PASS_EXEMPT) : drop(here, XDP_DROP_RATE_EXEMPT);
  }
}

static __always_inline int pass_problem(const struct packet *p, enum xdp_counter why, struct xdp_processor *here) {
  if (why == XDP_PASS_SIGNALLING) return pass_class(p, CLASS_SIGNALLING, here);
  if (why == XDP_PASS_ICMP) return pass_class(p, CLASS_ICMP, here);
  return pass(here, why);
}

static __always_inline int is_blocked(const struct table_control *control, const struct packet *p) {
  if (*(volatile uint32_t *)&control->blocked == 0) return 0;
  struct xdp_source source = {.family = p->flow.key.family};
  memcpy(source.address, p->flow.key.source, sizeof source.address);
  const uint64_t *until = bpf_map_lookup_elem(&pbs_blocked, &source);
  return until && *until > bpf_ktime_get_ns();
}

static __always_inline void raise_once(struct entry *entry, uint32_t flag, uint32_t type, uint64_t bytes,
                                       struct xdp_processor *here) {
  if (*(volatile uint32_t *)&entry->raised & flag) return;
  if (__sync_fetch_and_or(&entry->raised, flag) & flag) return;
  struct xdp_event *event = bpf_ringbuf_reserve(&pbs_events, sizeof *event, 0);
  if (!event) {
    __sync_fetch_and_and(&entry->raised, ~flag);
    count(here, XDP_EVENTS_LATE);
    return;
  }
  event->key = entry->key;
  event->value = bytes;
  event->type = type;
  event->zero = 0;
  bpf_ringbuf_submit(event, 0);
}

static __always_inline void ask_route(struct bpf_fib_lookup *route, const struct packet *p, uint16_t length,
                                      uint32_t interface) {
  route->ifindex = interface;
  route->tot_len = length;
  route->l4_protocol = p->flow.key.protocol;
  route->sport = p->flow.key.source_port;
  route->dport = p->flow.key.destination_port;
  if (p->flow.key.family == 4) {
    route->family = AF_INET;
    route->tos = p->tos;
    memcpy(&route->ipv4_src, p->flow.key.source, 4);
    memcpy(&route->ipv4_dst, p->flow.key.destination, 4);
    return;
  }
  route->family = AF_INET6;
  memcpy(route->ipv6_src, p->flow.key.source, 16);
  memcpy(route->ipv6_dst, p->flow.key.destination, 16);
}

/* Whether the packet would be forwarded, or is for this host, or nobody: then the stack deals with it. */
static __always_inline int is_forwarded(int result) {
  return result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_NO_NEIGH ||
         result == BPF_FIB_LKUP_RET_FRAG_NEEDED || result == BPF_FIB_LKUP_RET_UNSUPP_LWT;
}

/* As the kernel's rp_filter: there is a way back to the source; when strict, by this interface. */
static __always_inline int is_source_fine(void *context, uint32_t interface, const struct packet *p) {
  struct bpf_fib_lookup back = {0};
  struct packet reverse = {.tos = p->tos};
  flow_key_reverse(&reverse.flow.key, &p->flow.key);
  ask_route(&back, &reverse, 0, interface);
  int result = bpf_fib_lookup(context, &back, sizeof back, 0);
  if (!is_forwarded(result)) return 0;
  return setting.check_source == 2 || back.ifindex == interface;
}

enum taking { TAKEN, NO_ROOM, BUSY };

static __always_inline enum taking take_volume(struct entry *entry, uint64_t length, uint64_t *total) {
  for (int i = 0; i < MAX_TRIES; i++) {
    uint64_t bytes = *(volatile uint64_t *)&entry->bytes;
    uint64_t allowed = *(volatile uint64_t *)&entry->allowed;
    *total = bytes;
    if (bytes > allowed || length > allowed - bytes) return NO_ROOM;
    if (__sync_val_compare_and_swap(&entry->bytes, bytes, bytes + length) != bytes) continue;
    *total = bytes + length;
    return TAKEN;
  }
  return BUSY;
}

#define data_of(context) ((void *)(long)(context)->data)
#define end_of(context) ((void *)(long)(context)->data_end)

/* Takes one hop off, and puts the next hop's addresses in. The frame has no tags. */
static __always_inline int rewrite(void *data, void *end, const struct packet *p, const struct bpf_fib_lookup *route) {
  struct ethhdr *ethernet = data;
  if (p->flow.key.family == 4) {
    struct iphdr *ip = data + sizeof *ethernet;
    if ((void *)(ip + 1) > end) return -1;
    uint32_t sum = (uint32_t)ip->check + bpf_htons(0x0100);
    ip->check = (uint16_t)(sum + (sum >= 0xffff));
    ip->ttl--;
  } else {
    struct ipv6hdr *ip = data + sizeof *ethernet;
    if ((void *)(ip + 1) > end) return -1;
    ip->hop_limit--;
  }
  memcpy(ethernet->h_dest, route->dmac, ETH_ALEN);
  memcpy(ethernet->h_source, route->smac, ETH_ALEN);
  return 0;
}

static __always_inline int over_volume(struct entry *entry, uint64_t bytes, struct xdp_processor *here) {
  if (!setting.enforce) return pass(here, XDP_PASS_UNUSUAL);
  __sync_fetch_and_add(&entry->over_volume, 1);
  raise_once(entry, RAISED_EXHAUSTED, EVENT_EXHAUSTED, bytes, here);
  count(here, XDP_DROP_OVER_VOLUME);
  return XDP_DROP;
}

/* An interface that is not in `pbs_egress` has it answer XDP_PASS. Generic programs send by every interface but those shaped. */
static __always_inline long aim(uint32_t interface) {
  if (!setting.generic) return bpf_redirect_map(&pbs_egress, interface, XDP_PASS);
  return bpf_map_lookup_elem(&pbs_shaped, &interface) ? XDP_PASS : bpf_redirect(interface, 0);
}

static __always_inline int forward(struct xdp_md *context, const struct packet *p, struct entry *entry, uint64_t now,
                                   const struct bpf_fib_lookup *route, struct xdp_processor *here) {
  uint64_t bytes;
  if (setting.check_source && !is_source_fine(context, context->ingress_ifindex, p)) return pass(here, XDP_PASS_SOURCE);
  if (aim(route->ifindex) != XDP_REDIRECT) return pass(here, XDP_PASS_EGRESS);
  enum taking taking = take_volume(entry, p->length, &bytes);
  if (taking == NO_ROOM) return over_volume(entry, bytes, here);
  if (taking == BUSY || rewrite(data_of(context), end_of(context), p, route) < 0) return pass(here, XDP_PASS_UNUSUAL);
  __sync_fetch_and_add(&entry->packets, 1);
  entry->last = now;
  if (bytes >= entry->notify_at) raise_once(entry, RAISED_THRESHOLD, EVENT_THRESHOLD, bytes, here);
  count(here, XDP_SENT);
  return XDP_REDIRECT;
}

/*
 * Ready to be sent but for the check of its AH, which this host's process makes. Before the frame stands where it is to
 * go. What cannot be handed over is checked behind the stack.
 */
static __always_inline int hand_over(struct xdp_md *context, const struct packet *p, const struct bpf_fib_lookup *route,
                                     struct xdp_processor *here) {
  uint32_t interface = route->ifindex;
  if (setting.check_source && !is_source_fine(context, context->ingress_ifindex, p)) return pass(here, XDP_PASS_SOURCE);
  if (context->data_end - context->data > XDP_HANDED_MAX || !bpf_map_lookup_elem(&pbs_served, &interface))
    return pass(here, XDP_PASS_AUTHENTICATED);
  if (bpf_redirect_map(&pbs_queues, context->rx_queue_index, XDP_PASS) != XDP_REDIRECT ||
      bpf_xdp_adjust_meta(context, -(int)sizeof(struct xdp_handed)) != 0)
    return pass(here, XDP_PASS_AUTHENTICATED);
  struct xdp_handed *handed = (void *)(long)context->data_meta;
  if ((void *)(handed + 1) > (void *)(long)context->data || rewrite(data_of(context), end_of(context), p, route) < 0)
    return pass(here, XDP_PASS_UNUSUAL);
  handed->interface = interface;
  count(here, XDP_HANDED);
  return XDP_REDIRECT;
}

/* The packet is one that this router forwards, by `route` if that was found. */
static __always_inline int judge(struct xdp_md *context, const struct packet *p, struct entry *entry,
                                 const struct bpf_fib_lookup *route, int found, struct xdp_processor *here) {
  uint64_t now = bpf_ktime_get_coarse_ns();
  uint64_t term = *(volatile uint64_t *)&entry->term;
  if (term & TERM_REFUSED) return pass(here, XDP_PASS_UNUSUAL);
  /* Only at the end is it worth to ask the better clock. */
  if (term <= now + COARSE_NS && term <= bpf_ktime_get_ns()) {
    __sync_fetch_and_add(&entry->expired, 1);
    return drop(here, XDP_DROP_EXPIRED);
  }
  int protected = *(volatile uint32_t *)&entry->protection != 0;
  if (p->unusual || *(volatile uint8_t *)&entry->path)
    return pass(here, protected ? XDP_PASS_AUTHENTICATED : XDP_PASS_UNUSUAL);
  if (found != BPF_FIB_LKUP_RET_SUCCESS) return pass(here, XDP_PASS_ROUTE);
  if (protected && p->ah) return hand_over(context, p, route, here);
  /* One that lacks its AH, or has one that nobody asked for, is for the queues to judge. */
  if (protected || p->ah) return pass(here, XDP_PASS_AUTHENTICATED);
  return forward(context, p, entry, now, route, here);
}

static __always_inline int without_permission(const struct packet *p, struct xdp_processor *here) {
  if (setting.open || exempt_class(p, 1) >= 0) return pass_class(p, CLASS_OPEN, here);
  return drop(here, XDP_DROP_NO_PERMISSION);
}

/* The route is looked for while the entry comes from memory. */
static __always_inline int look_up(struct xdp_md *context, const struct packet *p, struct xdp_processor *here) {
  struct bpf_fib_lookup route = {0};
  struct entry *entry = 0;
  uint64_t hash = hash_of(&p->flow);
  struct entry *likely = fetch(hash);
  ask_route(&route, p, p->length, context->ingress_ifindex);
  int found = bpf_fib_lookup(context, &route, sizeof route, 0);
  if (!is_forwarded(found)) return pass(here, XDP_PASS_LOCAL);
  if (likely && is_of(likely, &p->flow)) return judge(context, p, likely, &route, found, here);
  enum finding finding = find(&p->flow, hash, &entry);
  if (finding == NOT_THERE) return without_permission(p, here);
  if (finding != FOUND || !entry) return pass(here, XDP_PASS_UNUSUAL);
  return judge(context, p, entry, &route, found, here);
}

/* An entry that is found from here on is used for no other flow until this processor has left. */
static __always_inline void enter(const struct table_control *control, struct xdp_processor *here) {
  __sync_lock_test_and_set(&here->reader.epoch, *(volatile uint64_t *)&control->epoch);
}

static __always_inline void leave(struct xdp_processor *here) {
#ifdef __TARGET_ARCH_x86
  asm volatile("" ::: "memory");
  *(volatile uint64_t *)&here->reader.epoch = READER_OUTSIDE;
#else
  __sync_lock_test_and_set(&here->reader.epoch, READER_OUTSIDE);
#endif
}

SEC("xdp")
int pbs_router(struct xdp_md *context) {
  uint32_t zero = 0, processor = bpf_get_smp_processor_id();
  struct table_control *control = bpf_map_lookup_elem(&pbs_control, &zero);
  struct xdp_processor *here = bpf_map_lookup_elem(&pbs_processors, &processor);
  struct packet packet = {0};
  struct cursor cursor = {data_of(context), end_of(context)};
  if (!control || !here) return XDP_PASS;
  int problem = parse_frame(&packet, &cursor, context->data_end - context->data);
  if (problem) return pass_problem(&packet, -problem - 1, here);
  if (is_blocked(control, &packet)) return drop(here, XDP_DROP_BLOCKED);
  int exempt = exempt_class(&packet, 0);
  if (exempt < 0 && packet.ah) exempt = exempt_as_ah(&packet);
  if (exempt >= 0) return pass_class(&packet, CLASS_EXEMPT + exempt, here);
  enter(control, here);
  int action = look_up(context, &packet, here);
  leave(here);
  return action;
}

/* What a super-packet becomes on the wire. */
struct segments {
  uint32_t header, size, count;
  uint64_t bytes;
};

/* Of a packet without options or extension headers; 0 when it is none that can be told. */
static __always_inline int segments_of(const struct packet *p, const struct cursor *c, uint32_t size,
                                       struct segments *out) {
  struct tcphdr *tcp = c->at;
  if (p->unusual || p->ah || p->flow.key.protocol != IPPROTO_TCP || !has(c, sizeof *tcp)) return 0;
  out->header = (p->flow.key.family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + tcp->doff * 4u;
  if (size == 0 || p->length <= out->header || out->header + size > UINT16_MAX) return 0;
  out->size = size;
  out->count = (p->length - out->header + size - 1) / size;
  out->bytes = p->length + (uint64_t)(out->count - 1) * out->header;
  return 1;
}

/* In force, and nothing is done with its packets but counting them. */
static __always_inline int is_plain(const struct entry *entry) {
  uint64_t term = *(volatile uint64_t *)&entry->term;
  return !(term & TERM_REFUSED) && term > bpf_ktime_get_ns() && *(volatile uint32_t *)&entry->protection == 0 &&
         *(volatile uint8_t *)&entry->path == 0;
}

static __always_inline int forward_segments(struct __sk_buff *skb, const struct packet *p, const struct segments *s,
                                            struct xdp_processor *here) {
  struct bpf_fib_lookup route = {0};
  struct entry *entry = 0;
  uint64_t bytes;
  if (find(&p->flow, hash_of(&p->flow), &entry) != FOUND || !entry || !is_plain(entry)) return TC_ACT_UNSPEC;
  ask_route(&route, p, (uint16_t)(s->header + s->size), skb->ifindex);
  if (bpf_fib_lookup(skb, &route, sizeof route, 0) != BPF_FIB_LKUP_RET_SUCCESS) return TC_ACT_UNSPEC;
  if (setting.check_source && !is_source_fine(skb, skb->ifindex, p)) return TC_ACT_UNSPEC;
  if (take_volume(entry, s->bytes, &bytes) != TAKEN) return TC_ACT_UNSPEC;
  if (rewrite(data_of(skb), end_of(skb), p, &route) < 0) return TC_ACT_SHOT;
  __sync_fetch_and_add(&entry->packets, s->count);
  entry->last = bpf_ktime_get_coarse_ns();
  if (bytes >= entry->notify_at) raise_once(entry, RAISED_THRESHOLD, EVENT_THRESHOLD, bytes, here);
  count(here, XDP_SENT);
  return (int)bpf_redirect(route.ifindex, 0);
}

/*
 * Of a virtual link, the super-packets of permitted TCP flows. The program above cannot tell how long their segments are, and has
 * left them to the stack. There they would stop while no process listens to the queues, and only what is small would go on:
 * to a sender that is a way which loses most of what it is given. What is not simple goes on to the queues.
 */
SEC("tc")
int pbs_segments(struct __sk_buff *skb) {
  uint32_t zero = 0, processor = bpf_get_smp_processor_id(), size = skb->gso_size;
  struct packet packet = {0};
  struct cursor cursor = {data_of(skb), end_of(skb)};
  struct segments segments;
  if (size == 0 || skb->vlan_present) return TC_ACT_UNSPEC;
  struct table_control *control = bpf_map_lookup_elem(&pbs_control, &zero);
  struct xdp_processor *here = bpf_map_lookup_elem(&pbs_processors, &processor);
  if (!control || !here || parse_frame(&packet, &cursor, skb->len) != 0) return TC_ACT_UNSPEC;
  if (exempt_class(&packet, 0) >= 0 || !segments_of(&packet, &cursor, size, &segments)) return TC_ACT_UNSPEC;
  enter(control, here);
  int action = forward_segments(skb, &packet, &segments, here);
  leave(here);
  return action;
}

char LICENSE[] SEC("license") = "GPL";
