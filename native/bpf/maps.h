/* What the programs have beside their code. `pbs_*` are found by their names: native/xdp.c has the sizes of those it makes. */
#ifndef PBS_BPF_MAPS_H
#define PBS_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../xdp-layout.h"

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

/* By a flow's number among those that are traced. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct places);
} pbs_places SEC(".maps");

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

/* Places at which packets of single flows are dropped, and until when. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1);
  __type(key, struct xdp_off_path);
  __type(value, __u64);
} pbs_off_path SEC(".maps");

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

#endif
