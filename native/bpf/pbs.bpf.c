/*
 * What a router does with packets before its stack sees them: the permitted are counted and forwarded, those without
 * permission dropped. Whatever is unusual goes to the stack, whose rules and queues decide about it with the same
 * table. A packet is counted by the one who sends or drops it, so nothing that is passed to the stack is counted here.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "classes.h"
#include "permission.h"
#include "places.h"
#include "route.h"
#include "segments.h"

/* No kernel's coarse clock lags further behind. */
#define COARSE_NS 20000000

static __always_inline int is_blocked(const struct table_control *control, const struct packet *p) {
  if (*(volatile uint32_t *)&control->blocked == 0) return 0;
  struct xdp_source source = {.family = p->flow.key.family};
  memcpy(source.address, p->flow.key.source, sizeof source.address);
  const uint64_t *until = bpf_map_lookup_elem(&pbs_blocked, &source);
  return until && *until > bpf_ktime_get_ns();
}

static __always_inline int forward(struct xdp_md *context, const struct packet *p, struct entry *entry, uint64_t now,
                                   const struct bpf_fib_lookup *route, struct xdp_processor *here) {
  uint64_t bytes;
  if (setting.check_source && !is_source_fine(context, context->ingress_ifindex, p)) return pass(here, XDP_PASS_SOURCE);
  if (aim(route->ifindex) != XDP_REDIRECT) return pass(here, XDP_PASS_EGRESS);
  enum taking taking = take_volume(entry, p->length, &bytes);
  if (taking == NO_ROOM) return over_volume(entry, bytes, here);
  if (taking == BUSY) return pass(here, XDP_PASS_UNUSUAL);
  count_place(entry, data_of(context), end_of(context), context->ingress_ifindex, p->length);
  if (rewrite(data_of(context), end_of(context), p, route) < 0) return pass(here, XDP_PASS_UNUSUAL);
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
  const struct ethhdr *ethernet = data_of(context);
  if ((void *)(handed + 1) > data_of(context) || (void *)(ethernet + 1) > end_of(context))
    return pass(here, XDP_PASS_UNUSUAL);
  *handed = (struct xdp_handed){.interface = interface, .came_by = context->ingress_ifindex};
  memcpy(handed->from, ethernet->h_source, sizeof handed->from);
  if (rewrite(data_of(context), end_of(context), p, route) < 0) return pass(here, XDP_PASS_UNUSUAL);
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
  if (is_off_path(control, &packet, data_of(context), end_of(context), context->ingress_ifindex))
    return drop(here, XDP_DROP_OFF_PATH);
  int exempt = exempt_class(&packet, 0);
  if (exempt < 0 && packet.ah) exempt = exempt_as_ah(&packet);
  if (exempt >= 0) return pass_class(&packet, CLASS_EXEMPT + exempt, here);
  enter(control, here);
  int action = look_up(context, &packet, here);
  leave(here);
  return action;
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
