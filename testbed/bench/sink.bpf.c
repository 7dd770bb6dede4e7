/* Ends UDP, and what has AH, at the receiver of the measuring lab as cheaply as a host can, whichever way the router sent it. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int sink(struct __sk_buff *packet) {
  struct ethhdr *ethernet = (void *)(long)packet->data;
  struct iphdr *ip = (void *)(ethernet + 1);
  if ((void *)(ip + 1) > (void *)(long)packet->data_end || ethernet->h_proto != bpf_htons(ETH_P_IP)) return TC_ACT_OK;
  return ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_AH ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
