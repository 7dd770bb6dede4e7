/* What a permission allows: volume, and events about it. */
#ifndef PBS_BPF_PERMISSION_H
#define PBS_BPF_PERMISSION_H

#include "count.h"
#include "table.h"

enum {
  MAX_TRIES = 8,
  EVENT_THRESHOLD = 1, /* as in native/events.h */
  EVENT_EXHAUSTED = 2,
};

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

static __always_inline int over_volume(struct entry *entry, uint64_t bytes, struct xdp_processor *here) {
  if (!setting.enforce) return pass(here, XDP_PASS_UNUSUAL);
  __sync_fetch_and_add(&entry->over_volume, 1);
  raise_once(entry, RAISED_EXHAUSTED, EVENT_EXHAUSTED, bytes, here);
  count(here, XDP_DROP_OVER_VOLUME);
  return XDP_DROP;
}

#endif
