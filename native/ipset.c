#include "ipset.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
  PROTOCOL = 6, /* the oldest protocol of ipset in use; newer kernels still speak it */
  ELEMENT_BYTES = 128,
  ANSWER_BYTES = 4096,
};

static void name_batch(struct set_batch *b, uint8_t family, const char *name, int sources) {
  b->family = family;
  b->sources = sources;
  memcpy(b->name, name, SET_NAME_BYTES);
}

int kernel_sets_open(struct kernel_sets *s, const kernel_set_names names) {
  memset(s, 0, sizeof *s);
  for (int which = 0; which < SET_COUNT; which++) {
    name_batch(&s->batch4[which], AF_INET, names[which][0], which == SET_KNOWN);
    name_batch(&s->batch6[which], AF_INET6, names[which][1], which == SET_KNOWN);
  }
  s->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
  if (s->socket && mnl_socket_bind(s->socket, 0, MNL_SOCKET_AUTOPID) == 0) return 0;
  int error = errno;
  kernel_sets_close(s);
  errno = error;
  return -1;
}

void kernel_sets_close(struct kernel_sets *s) {
  if (s->socket) mnl_socket_close(s->socket);
  s->socket = NULL;
}

static void begin(struct kernel_sets *s, struct set_batch *b) {
  uint32_t line = 0;
  b->message = mnl_nlmsg_put_header(b->buffer);
  b->message->nlmsg_type = (NFNL_SUBSYS_IPSET << 8) | IPSET_CMD_ADD;
  b->message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK; /* without NLM_F_EXCL: an element that is there starts anew */
  b->message->nlmsg_seq = ++s->sequence;
  struct nfgenmsg *general = mnl_nlmsg_put_extra_header(b->message, sizeof *general);
  general->nfgen_family = b->family;
  general->version = NFNETLINK_V0;
  general->res_id = 0;
  mnl_attr_put_u8(b->message, IPSET_ATTR_PROTOCOL, PROTOCOL);
  mnl_attr_put_strz(b->message, IPSET_ATTR_SETNAME, b->name);
  mnl_attr_put_u32(b->message, IPSET_ATTR_LINENO, line);
  b->list = mnl_attr_nest_start(b->message, IPSET_ATTR_ADT);
}

static void put_address(struct nlmsghdr *message, uint16_t attribute, uint8_t family, const uint8_t *address) {
  struct nlattr *nest = mnl_attr_nest_start(message, attribute);
  if (family == AF_INET) mnl_attr_put(message, IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, 4, address);
  else mnl_attr_put(message, IPSET_ATTR_IPADDR_IPV6 | NLA_F_NET_BYTEORDER, 16, address);
  mnl_attr_nest_end(message, nest);
}

static void put_port_and_destination(struct set_batch *b, const struct flow_key *key, uint16_t port) {
  mnl_attr_put_u8(b->message, IPSET_ATTR_PROTO, key->protocol);
  mnl_attr_put_u16(b->message, IPSET_ATTR_PORT | NLA_F_NET_BYTEORDER, port);
  put_address(b->message, IPSET_ATTR_IP2, b->family, key->destination);
}

/* No timeout of its own: two flows may share an element, and the shorter must not cut the longer. */
static void put_element(struct set_batch *b, const struct flow_key *key, uint16_t port) {
  struct nlattr *data = mnl_attr_nest_start(b->message, IPSET_ATTR_DATA);
  put_address(b->message, IPSET_ATTR_IP, b->family, key->source);
  if (!b->sources) put_port_and_destination(b, key, port);
  mnl_attr_nest_end(b->message, data);
}

static int read_answer(const struct kernel_sets *s) {
  char answer[ANSWER_BYTES];
  for (;;) {
    ssize_t length = recv(mnl_socket_get_fd(s->socket), answer, sizeof answer, 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return -1;
    const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
    if (length < (ssize_t)(sizeof *header + sizeof(int)) || header->nlmsg_type != NLMSG_ERROR) continue;
    if (header->nlmsg_seq != s->sequence) continue;
    const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
    if (error->error == 0) return 0;
    errno = -error->error;
    return -1;
  }
}

/* The sequence number goes up once more: of two batches begun, the later one may be sent first. */
static int send_batch(struct kernel_sets *s, struct set_batch *b) {
  if (!b->message) return 0;
  mnl_attr_nest_end(b->message, b->list);
  struct nlmsghdr *message = b->message;
  b->message = NULL;
  message->nlmsg_seq = ++s->sequence;
  if (mnl_socket_sendto(s->socket, message, message->nlmsg_len) >= 0 && read_answer(s) == 0) return 0;
  if (b->sources) return 0;
  s->failed = b->name;
  return -1;
}

/* Whoever gets an error adds all of the flows again, or none. */
static int discard(struct kernel_sets *s) {
  for (int which = 0; which < SET_COUNT; which++) s->batch4[which].message = s->batch6[which].message = NULL;
  return -1;
}

static int add_element(struct kernel_sets *s, struct set_batch *b, const struct flow_key *key, uint16_t port) {
  if (b->message && b->message->nlmsg_len + ELEMENT_BYTES > sizeof b->buffer && send_batch(s, b) < 0) return -1;
  if (!b->message) begin(s, b);
  put_element(b, key, port);
  return 0;
}

/* The set takes type and code of ICMP for the port. */
static int add_echo(struct kernel_sets *s, struct set_batch *b, const struct flow_key *key, uint8_t request,
                    uint8_t reply) {
  if (add_element(s, b, key, htons((uint16_t)(request << 8))) < 0) return -1;
  return add_element(s, b, key, htons((uint16_t)(reply << 8)));
}

static int add_flow(struct kernel_sets *s, enum kernel_set which, const struct flow_key *key) {
  struct set_batch *b = key->family == 4 ? &s->batch4[which] : &s->batch6[which];
  if (key->protocol == IPPROTO_ICMP) return add_echo(s, b, key, 8, 0);
  if (key->protocol == IPPROTO_ICMPV6) return add_echo(s, b, key, 128, 129);
  return add_element(s, b, key, key->destination_port);
}

int kernel_sets_add(struct kernel_sets *s, enum kernel_set which, const struct flow_key *key) {
  if (!s->socket) return 0;
  return add_flow(s, which, key) < 0 ? discard(s) : 0;
}

int kernel_sets_flush(struct kernel_sets *s) {
  if (!s->socket) return 0;
  for (int which = 0; which < SET_COUNT; which++)
    if (send_batch(s, &s->batch4[which]) < 0 || send_batch(s, &s->batch6[which]) < 0) return discard(s);
  return 0;
}
