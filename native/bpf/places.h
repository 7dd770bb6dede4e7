/* Where packets come in: counted for flows that are traced, dropped at places that are proven to be off a flow's path. */
#ifndef PBS_BPF_PLACES_H
#define PBS_BPF_PLACES_H

#include "../places.h"
#include "parse.h"
#include "table.h"

/* As native/places.c: those that come first stay. */
static __always_inline void count_at(struct places *places, place_name name, uint64_t bytes) {
#pragma unroll
  for (int i = 0; i < PLACES_OF_FLOW; i++) {
    struct place_count *place = &places->place[i];
    place_name there = *(volatile place_name *)&place->name;
    if (there == 0) there = __sync_val_compare_and_swap(&place->name, 0, name);
    if (there != 0 && there != name) continue;
    __sync_fetch_and_add(&place->bytes, bytes);
    return;
  }
  __sync_fetch_and_add(&places->other, 1);
}

/* Of a packet that passes, as it came. */
static __always_inline void count_place(const struct entry *entry, void *data, void *end, uint32_t interface,
                                        uint64_t bytes) {
  uint32_t number = *(volatile uint32_t *)&entry->raised >> TRACED_SHIFT;
  const struct ethhdr *ethernet = data;
  if (number == 0 || (void *)(ethernet + 1) > end) return;
  struct places *places = bpf_map_lookup_elem(&pbs_places, &number);
  if (places) count_at(places, place_of(interface, ethernet->h_source), bytes);
}

static __always_inline int is_shut(const struct xdp_off_path *place) {
  const uint64_t *until = bpf_map_lookup_elem(&pbs_off_path, place);
  return until && *until > bpf_ktime_get_ns();
}

static __always_inline int is_off_path(const struct table_control *control, const struct packet *p, void *data, void *end,
                                       uint32_t interface) {
  static const uint8_t whatever[6];
  const struct ethhdr *ethernet = data;
  if (*(volatile uint32_t *)&control->off_path == 0 || (void *)(ethernet + 1) > end) return 0;
  struct xdp_off_path place = {.flow = p->flow.key, .place = place_of(interface, whatever)};
  if (is_shut(&place)) return 1;
  place.place = place_of(interface, ethernet->h_source);
  return is_shut(&place);
}

#endif
