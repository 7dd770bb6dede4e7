/*
 * Sends one packet again and again, each time with the next sequence number and ICV of a list: Authentication Headers that
 * verify, at a rate that no process could make them at.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#include <bpf/bpf_helpers.h>

#include "ah-generator.h"

enum { MOST_LOOKS = 512 };

struct position {
  uint64_t number;
  uint64_t start; /* monotonic nanoseconds; 0: nothing was sent yet */
};

const volatile struct template template;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1); /* set before loading */
  __type(key, __u32);
  __type(value, struct proof);
} proofs SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct position);
} position SEC(".maps");

/* Waits for the packet's turn: short of that a burst would fill the ring of the interface, and most of it be lost there. */
static __always_inline void wait_for_turn(uint64_t *start, uint32_t number) {
  if (*start == 0) *start = bpf_ktime_get_ns();
  uint64_t turn = *start + number * template.interval;
  for (int i = 0; i < MOST_LOOKS && bpf_ktime_get_ns() < turn; i++);
}

/* Frames are used again with what the router wrote into them, so whatever a router changes is restored each time. */
SEC("xdp")
int send(struct xdp_md *context) {
  uint8_t *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
  uint32_t zero = 0;
  struct position *at = bpf_map_lookup_elem(&position, &zero);
  if (!at || data + AH_AT + AH_BYTES > end) return XDP_ABORTED;
  uint32_t number = (uint32_t)at->number++;
  wait_for_turn(&at->start, number);
  const struct proof *proof = bpf_map_lookup_elem(&proofs, &number);
  if (!proof) return XDP_DROP;
  for (int i = 0; i < ETH_ALEN; i++) data[i] = template.destination[i];
  struct iphdr *ip = (void *)(data + ETH_HLEN);
  ip->ttl = 64;
  ip->check = template.sum;
  __builtin_memcpy(data + AH_AT + AH_SEQUENCE_AT, proof, sizeof *proof);
  return (int)bpf_redirect(template.interface, 0);
}

char LICENSE[] SEC("license") = "GPL";
