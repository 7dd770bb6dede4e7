/* A verdict is counted by the processor that makes it. */
#ifndef PBS_BPF_COUNT_H
#define PBS_BPF_COUNT_H

#include "maps.h"

static __always_inline void count(struct xdp_processor *here, enum xdp_counter which) { here->of[which]++; }

static __always_inline int pass(struct xdp_processor *here, enum xdp_counter why) {
  count(here, why);
  return XDP_PASS;
}

static __always_inline int drop(struct xdp_processor *here, enum xdp_counter why) {
  count(here, why);
  return XDP_DROP;
}

#endif
