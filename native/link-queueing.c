/* Asks the kernel which queueing discipline an interface sends by. */
#include "link-queueing.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <string.h>

enum { ANSWER_BYTES = 32768 };

struct answer {
  char *out;
  size_t room;
};

static int read_attribute(const struct nlattr *attribute, void *data) {
  struct answer *answer = data;
  if (mnl_attr_get_type(attribute) != IFLA_QDISC) return MNL_CB_OK;
  if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0) return MNL_CB_OK;
  strncpy(answer->out, mnl_attr_get_str(attribute), answer->room - 1);
  return MNL_CB_OK;
}

static int read_link(const struct nlmsghdr *message, void *data) {
  return mnl_attr_parse(message, sizeof(struct ifinfomsg), read_attribute, data);
}

static int ask(struct mnl_socket *socket, unsigned interface, struct answer *answer) {
  char buffer[256], received[ANSWER_BYTES];
  struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = RTM_GETLINK;
  message->nlmsg_flags = NLM_F_REQUEST;
  struct ifinfomsg *link = mnl_nlmsg_put_extra_header(message, sizeof *link);
  link->ifi_index = (int)interface;
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return -1;
  if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) return -1;
  ssize_t length = mnl_socket_recvfrom(socket, received, sizeof received);
  return length < 0 ? -1 : mnl_cb_run(received, (size_t)length, 0, 0, read_link, answer);
}

int link_queueing(unsigned interface, char *out, size_t room) {
  struct answer answer = {out, room};
  struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  memset(out, 0, room);
  if (!socket) return -1;
  int result = ask(socket, interface, &answer), error = errno;
  mnl_socket_close(socket);
  errno = error;
  return result < 0 ? -1 : 0;
}
