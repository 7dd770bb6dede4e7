/* Where a packet is to go, and what it looks like when it goes there. */
#ifndef PBS_BPF_ROUTE_H
#define PBS_BPF_ROUTE_H

#include "parse.h"

enum { AF_INET = 2, AF_INET6 = 10 };

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

/* An interface that is not in `pbs_egress` has it answer XDP_PASS. Generic programs send by every interface but those shaped. */
static __always_inline long aim(uint32_t interface) {
  if (!setting.generic) return bpf_redirect_map(&pbs_egress, interface, XDP_PASS);
  return bpf_map_lookup_elem(&pbs_shaped, &interface) ? XDP_PASS : bpf_redirect(interface, 0);
}

#endif
