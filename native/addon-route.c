/*
 * Questions to the kernel about single routes, answered at once: it works them out while it takes them. By way of the event loop
 * each would wait for a turn, and a crowd of new flows for many.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "addon-engine.h"
#include "addon-values.h"

enum { ANSWER_BYTES = 8192, QUESTION_BYTES = 512, WAIT_MS = 200 };

/* Each thread of JavaScript has its own; -1: none yet. */
static _Thread_local int route_socket = -1;
static _Thread_local uint32_t sequence;

static void close_socket(void *unused) {
  (void)unused;
  if (route_socket >= 0) close(route_socket);
  route_socket = -1;
}

static int open_socket(napi_env env) {
  struct sockaddr_nl any = {.nl_family = AF_NETLINK};
  struct timeval wait = {.tv_usec = WAIT_MS * 1000};
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -1;
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0) {
    close(fd);
    return -1;
  }
  route_socket = fd;
  napi_add_env_cleanup_hook(env, close_socket, NULL);
  return 0;
}

static int send_question(const void *body, size_t length) {
  struct {
    struct nlmsghdr header;
    char body[QUESTION_BYTES];
  } question;
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  memset(&question.header, 0, sizeof question.header);
  question.header.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + length);
  question.header.nlmsg_type = RTM_GETROUTE;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.header.nlmsg_seq = ++sequence;
  memcpy(question.body, body, length);
  ssize_t sent = sendto(route_socket, &question, question.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel);
  return sent < 0 ? -1 : 0;
}

/* Length of the answer's body, which begins at `*body`; -1 with errno. */
static ssize_t read_answer(char *buffer, char **body) {
  for (;;) {
    struct sockaddr_nl sender;
    socklen_t size = sizeof sender;
    ssize_t length = recvfrom(route_socket, buffer, ANSWER_BYTES, 0, (struct sockaddr *)&sender, &size);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return -1;
    const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
    if (size != sizeof sender || sender.nl_pid != 0 || !NLMSG_OK(header, length)) continue;
    if (header->nlmsg_seq != sequence) continue;
    if (header->nlmsg_type == NLMSG_ERROR) {
      const struct nlmsgerr *error = NLMSG_DATA(header);
      errno = header->nlmsg_len >= NLMSG_LENGTH(sizeof *error) ? -error->error : EPROTO;
      return -1;
    }
    *body = NLMSG_DATA(header);
    return (ssize_t)(header->nlmsg_len - NLMSG_HDRLEN);
  }
}

/* askRoute(question): body of an RTM_GETROUTE message to that of the kernel's answer. Throws the kernel's error. */
napi_value addon_ask_route(napi_env env, napi_callback_info info) {
  _Alignas(8) char buffer[ANSWER_BYTES];
  napi_value a[1], value = NULL;
  void *question = NULL;
  char *body = NULL;
  size_t length = 0;
  if (get_arguments(env, info, 1, a) < 0 || get_typed_array(env, a[0], napi_uint8_array, &question, &length) < 0)
    return NULL;
  if (length > QUESTION_BYTES) {
    throw_errno(env, EMSGSIZE, "the route cannot be asked for");
    return NULL;
  }
  if ((route_socket < 0 && open_socket(env) < 0) || send_question(question, length) < 0) {
    throw_errno(env, errno, "the route cannot be asked for");
    return NULL;
  }
  ssize_t answered = read_answer(buffer, &body);
  if (answered < 0) throw_errno(env, errno, "the kernel tells no route");
  else napi_create_buffer_copy(env, (size_t)answered, body, NULL, &value);
  return value;
}
