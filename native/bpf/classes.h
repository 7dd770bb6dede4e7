/* Packets that need no permission, and within which rates they go to the stack. */
#ifndef PBS_BPF_CLASSES_H
#define PBS_BPF_CLASSES_H

#include "../siphash.h"
#include "count.h"
#include "parse.h"

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

static __always_inline int without_permission(const struct packet *p, struct xdp_processor *here) {
  if (setting.open || exempt_class(p, 1) >= 0) return pass_class(p, CLASS_OPEN, here);
  return drop(here, XDP_DROP_NO_PERMISSION);
}

#endif
