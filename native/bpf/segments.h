/* Super-packets of TCP, which virtual links carry. */
#ifndef PBS_BPF_SEGMENTS_H
#define PBS_BPF_SEGMENTS_H

#include <linux/pkt_cls.h>

#include "permission.h"
#include "places.h"
#include "route.h"

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
  count_place(entry, data_of(skb), end_of(skb), skb->ifindex, s->bytes);
  if (rewrite(data_of(skb), end_of(skb), p, &route) < 0) return TC_ACT_SHOT;
  __sync_fetch_and_add(&entry->packets, s->count);
  entry->last = bpf_ktime_get_coarse_ns();
  if (bytes >= entry->notify_at) raise_once(entry, RAISED_THRESHOLD, EVENT_THRESHOLD, bytes, here);
  count(here, XDP_SENT);
  return (int)bpf_redirect(route.ifindex, 0);
}

#endif
