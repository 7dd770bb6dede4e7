/* Packets that need no permission, and within which rates they go to the stack. */
#ifndef PBS_BPF_CLASSES_H
#define PBS_BPF_CLASSES_H

#include "../siphash.h"
#include "count.h"
#include "parse.h"

enum { TIGHTEST_LOG2 = 6, TIGHT_STEPS = 16 };

/* Number of the configured class that the packet belongs to, or -1. */
static __always_inline int exempt_class(const struct packet *p, int legacy) {
  uint16_t source = bpf_ntohs(p->flow.key.source_port), destination = bpf_ntohs(p->flow.key.destination_port);
  for (uint32_t i = 0; i < XDP_EXEMPTS && i < setting.exempts; i++) {
    const volatile struct xdp_exempt *e = &setting.exempt[i];
    uint64_t differs = ((e->class & EXEMPT_LEGACY) != 0) != legacy;
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

/* How much is in a bucket: nanoseconds until it is empty. */
static __always_inline uint64_t fill_of(const uint64_t *bucket, uint64_t now) {
  uint64_t until = *(const volatile uint64_t *)bucket;
  return until > now ? until - now : 0;
}

/* Of processors that fill it at once one does: the stack has buckets of its own behind. */
static __always_inline void fill_to(uint64_t *bucket, uint64_t until) {
  uint64_t before = *(volatile uint64_t *)bucket;
  if (before < until) __sync_val_compare_and_swap(bucket, before, until);
}

/*
 * What a packet takes of its source's bucket, as the one of all sources is more than half full: up to TIGHTEST times as much.
 * So that one fills until all sources together get no more than there is, each of those that want more the same.
 */
static __always_inline uint64_t tightened(uint64_t cost, uint64_t fill, uint64_t tolerance) {
  uint64_t half = tolerance / 2;
  if (fill <= half || half == 0) return cost;
  uint64_t steps = (fill - half) * (TIGHTEST_LOG2 * TIGHT_STEPS) / half;
  if (steps > TIGHTEST_LOG2 * TIGHT_STEPS) steps = TIGHTEST_LOG2 * TIGHT_STEPS;
  return cost * (TIGHT_STEPS + steps % TIGHT_STEPS) / TIGHT_STEPS << steps / TIGHT_STEPS;
}

/* The two cells of a source. IPv6: all of a /64 is one. */
struct cells {
  uint64_t *first, *second;
};

static __always_inline struct cells cells_of(const struct packet *p, uint32_t class) {
  const uint64_t key[2] = {setting.key[0], setting.key[1] ^ class};
  const uint64_t source[1] = {p->flow.words[0]};
  uint64_t hash = siphash_words(key, source, 1, 1, 3);
  uint32_t first = (uint32_t)hash % XDP_SOURCE_CELLS, second = (uint32_t)(hash >> 32) % XDP_SOURCE_CELLS;
  return (struct cells){bpf_map_lookup_elem(&pbs_sources, &first), bpf_map_lookup_elem(&pbs_sources, &second)};
}

/*
 * A source has what the emptier of its cells says, so that only who shares both with others has less. A packet that finds it
 * empty always passes: nobody is shut out by a bucket smaller than a packet.
 */
static __always_inline int take_share(const struct packet *p, uint32_t class, const volatile struct xdp_rate *rate,
                                      uint64_t cost, uint64_t tight, uint64_t now) {
  struct cells cells = cells_of(p, class);
  if (!cells.first || !cells.second) return 1;
  uint64_t first = fill_of(cells.first, now), second = fill_of(cells.second, now);
  uint64_t fill = first < second ? first : second, after = fill + tight;
  if (after > rate->tolerance) {
    if (fill != 0) return 0;
    after = rate->tolerance > cost ? rate->tolerance : cost;
  }
  fill_to(cells.first, now + after);
  fill_to(cells.second, now + after);
  return 1;
}

static __always_inline uint64_t cost_of(const volatile struct xdp_rate *rate, uint32_t units) {
  return (units * rate->interval) >> XDP_INTERVAL_SHIFT;
}

/*
 * What the stack's rules would drop by their own rates is dropped here while it is cheap. One source's flood does not take from
 * the total what others could have.
 */
static __always_inline int within(const struct packet *p, uint32_t class, uint32_t units) {
  if (class >= XDP_CLASSES) return 1;
  const volatile struct xdp_bounds *bounds = &setting.bounds[class];
  uint64_t *total = bpf_map_lookup_elem(&pbs_totals, &class);
  if (!total || bounds->total.interval == 0) return 1;
  uint64_t now = bpf_ktime_get_coarse_ns(), fill = fill_of(total, now), cost = cost_of(&bounds->source, units);
  uint64_t after = fill + cost_of(&bounds->total, units);
  if (after > bounds->total.tolerance) return 0;
  uint64_t tight = tightened(cost, fill, bounds->total.tolerance);
  if (bounds->source.interval != 0 && !take_share(p, class, &bounds->source, cost, tight, now)) return 0;
  fill_to(total, now + after);
  return 1;
}

/* To the stack, which has a class for the packet. */
static __always_inline int pass_class(const struct packet *p, uint32_t class, struct xdp_processor *here) {
  switch (class) {
    case CLASS_SIGNALLING:
      return within(p, class, 1) ? pass(here, XDP_PASS_SIGNALLING) : drop(here, XDP_DROP_RATE_SIGNALLING);
    case CLASS_ICMP:
      return within(p, class, 1) ? pass(here, XDP_PASS_ICMP) : drop(here, XDP_DROP_RATE_ICMP);
    default:
      return within(p, class, 1) ? pass(here, XDP_PASS_EXEMPT) : drop(here, XDP_DROP_RATE_EXEMPT);
  }
}

static __always_inline int pass_problem(const struct packet *p, enum xdp_counter why, struct xdp_processor *here) {
  if (why == XDP_PASS_SIGNALLING) return pass_class(p, CLASS_SIGNALLING, here);
  if (why == XDP_PASS_ICMP) return pass_class(p, CLASS_ICMP, here);
  return pass(here, why);
}

static __always_inline int pass_shared(const struct packet *p, uint32_t class, struct xdp_processor *here) {
  return within(p, class, p->length) ? pass(here, XDP_PASS_OPEN) : drop(here, XDP_DROP_RATE_OPEN);
}

static __always_inline int without_permission(const struct packet *p, struct xdp_processor *here) {
  int legacy = exempt_class(p, 1);
  if (legacy >= 0) return pass_shared(p, CLASS_EXEMPT + legacy, here);
  return setting.open ? pass_shared(p, CLASS_OPEN, here) : drop(here, XDP_DROP_NO_PERMISSION);
}

#endif
