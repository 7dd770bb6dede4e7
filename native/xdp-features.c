/* Asks the kernel what an interface can do for XDP (generic netlink family "netdev", Linux 6.3 and newer). */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <string.h>

#include "xdp.h"

/* Of linux/netdev.h, which older headers lack. */
enum { DEVICE_GET = 1, DEVICE_IFINDEX = 1, DEVICE_FEATURES = 3, FAMILY_VERSION = 1, ANSWER_BYTES = 8192 };

struct question {
  uint16_t attribute; /* whose value is wanted */
  uint64_t value;
};

static int read_attribute(const struct nlattr *attribute, void *data) {
  struct question *q = data;
  if (mnl_attr_get_type(attribute) != q->attribute) return MNL_CB_OK;
  if (mnl_attr_get_payload_len(attribute) == 2) q->value = mnl_attr_get_u16(attribute);
  else if (mnl_attr_get_payload_len(attribute) == 8) q->value = mnl_attr_get_u64(attribute);
  return MNL_CB_OK;
}

static int read_message(const struct nlmsghdr *message, void *data) {
  return mnl_attr_parse(message, sizeof(struct genlmsghdr), read_attribute, data);
}

static struct nlmsghdr *begin(char *buffer, uint16_t type, uint8_t command, uint8_t version) {
  struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = type;
  message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  struct genlmsghdr *general = mnl_nlmsg_put_extra_header(message, sizeof *general);
  general->cmd = command;
  general->version = version;
  return message;
}

static int ask(struct mnl_socket *socket, const struct nlmsghdr *message, struct question *q) {
  char answer[ANSWER_BYTES];
  if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) return -1;
  for (;;) {
    ssize_t length = mnl_socket_recvfrom(socket, answer, sizeof answer);
    if (length < 0) return -1;
    int result = mnl_cb_run(answer, (size_t)length, 0, 0, read_message, q);
    if (result <= 0) return result;
  }
}

static int ask_both(struct mnl_socket *socket, unsigned interface, uint64_t *features) {
  char buffer[256];
  struct question family = {.attribute = CTRL_ATTR_FAMILY_ID}, device = {.attribute = DEVICE_FEATURES};
  struct nlmsghdr *message = begin(buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
  mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, "netdev");
  if (ask(socket, message, &family) < 0) return -1;
  message = begin(buffer, (uint16_t)family.value, DEVICE_GET, FAMILY_VERSION);
  mnl_attr_put_u32(message, DEVICE_IFINDEX, interface);
  if (ask(socket, message, &device) < 0) return -1;
  *features = device.value;
  return 0;
}

int xdp_features(unsigned interface, uint64_t *features) {
  struct mnl_socket *socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
  if (!socket) return -1;
  int result = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -1 : ask_both(socket, interface, features);
  int error = errno;
  mnl_socket_close(socket);
  errno = error;
  return result;
}
