/*
 * Asks the kernel what an interface can do for XDP (generic netlink family "netdev", Linux 6.3 and newer), and which threads
 * receive for it (Linux 6.8 and newer).
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "xdp.h"

/* Of linux/netdev.h, which older headers lack. */
enum {
  DEVICE_GET = 1,
  DEVICE_IFINDEX = 1,
  DEVICE_FEATURES = 3,
  NAPI_GET = 11,
  NAPI_IFINDEX = 1,
  NAPI_PID = 4,
  FAMILY_VERSION = 1,
  ANSWER_BYTES = 8192,
};

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

static struct nlmsghdr *begin(char *buffer, uint16_t type, uint8_t command, uint16_t flags) {
  struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = type;
  message->nlmsg_flags = NLM_F_REQUEST | flags;
  struct genlmsghdr *general = mnl_nlmsg_put_extra_header(message, sizeof *general);
  general->cmd = command;
  general->version = FAMILY_VERSION;
  return message;
}

static int ask(struct mnl_socket *socket, const struct nlmsghdr *message, mnl_cb_t read, void *data) {
  char answer[ANSWER_BYTES];
  if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) return -1;
  for (;;) {
    ssize_t length = mnl_socket_recvfrom(socket, answer, sizeof answer);
    if (length < 0) return -1;
    int result = mnl_cb_run(answer, (size_t)length, 0, 0, read, data);
    if (result <= 0) return result;
  }
}

/* A socket, and the number of the family there; NULL with errno. */
static struct mnl_socket *open_family(uint16_t *number) {
  char buffer[256];
  struct question family = {.attribute = CTRL_ATTR_FAMILY_ID};
  struct mnl_socket *socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
  if (!socket) return NULL;
  struct nlmsghdr *message = begin(buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
  mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, "netdev");
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 && ask(socket, message, read_message, &family) == 0) {
    *number = (uint16_t)family.value;
    return socket;
  }
  int error = errno;
  mnl_socket_close(socket);
  errno = error;
  return NULL;
}

/* Asks about one interface, and closes the socket. */
static int ask_last(struct mnl_socket *socket, struct nlmsghdr *message, uint16_t attribute, unsigned interface,
                    mnl_cb_t read, void *data) {
  mnl_attr_put_u32(message, attribute, interface);
  int result = ask(socket, message, read, data), error = errno;
  mnl_socket_close(socket);
  errno = error;
  return result;
}

int xdp_features(unsigned interface, uint64_t *features) {
  char buffer[256];
  uint16_t family;
  struct question device = {.attribute = DEVICE_FEATURES};
  struct mnl_socket *socket = open_family(&family);
  if (!socket) return -1;
  struct nlmsghdr *message = begin(buffer, family, DEVICE_GET, NLM_F_ACK);
  if (ask_last(socket, message, DEVICE_IFINDEX, interface, read_message, &device) < 0) return -1;
  *features = device.value;
  return 0;
}

struct receivers {
  int priority;
  int raised;
  int error;
};

static int read_pid(const struct nlattr *attribute, void *data) {
  if (mnl_attr_get_type(attribute) == NAPI_PID && mnl_attr_get_payload_len(attribute) == sizeof(uint32_t))
    *(uint32_t *)data = mnl_attr_get_u32(attribute);
  return MNL_CB_OK;
}

/* The kernel tells numbers of the first process namespace: in another one they are somebody else's. */
static int receives(uint32_t thread) {
  static const char prefix[] = "napi/";
  char path[32], name[sizeof prefix] = {0};
  snprintf(path, sizeof path, "/proc/%u/comm", thread);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, name, sizeof prefix - 1);
  close(fd);
  return length == (ssize_t)sizeof prefix - 1 && memcmp(name, prefix, sizeof prefix - 1) == 0;
}

static int raise_receiver(const struct nlmsghdr *message, void *data) {
  struct receivers *r = data;
  uint32_t thread = 0;
  struct sched_param priority = {.sched_priority = r->priority};
  if (mnl_attr_parse(message, sizeof(struct genlmsghdr), read_pid, &thread) < 0) return MNL_CB_ERROR;
  if (thread == 0 || !receives(thread)) return MNL_CB_OK;
  if (sched_setscheduler((pid_t)thread, SCHED_FIFO, &priority) == 0) r->raised++;
  else r->error = errno;
  return MNL_CB_OK;
}

int receive_threads_raise(unsigned interface, int priority) {
  char buffer[256];
  uint16_t family;
  struct receivers r = {.priority = priority};
  struct mnl_socket *socket = open_family(&family);
  if (!socket) return -1;
  struct nlmsghdr *message = begin(buffer, family, NAPI_GET, NLM_F_DUMP);
  if (ask_last(socket, message, NAPI_IFINDEX, interface, raise_receiver, &r) < 0) return -1;
  if (r.error == 0) return r.raised;
  errno = r.error;
  return -1;
}
