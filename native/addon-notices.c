/*
 * Notices of rtnetlink for JavaScript: that routes, rules, links, addresses or neighbours have changed. Read in the thread
 * of the event loop, some datagrams at a time. When more came than the socket could keep, JavaScript is told so.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "addon-engine.h"
#include "addon-values.h"

enum { DATAGRAM_BYTES = 32768, AT_ONCE = 16, RECEIVE_BUFFER = 4 << 20, MAX_GROUP = 64 };

static const napi_type_tag NOTICES_TAG = {0x7062732d67617465ULL, 0x7761792d6e6f7469ULL};

struct notices {
  uv_poll_t poll; /* first, so that the handle is the structure */
  int fd;         /* -1 once closed */
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  char datagram[DATAGRAM_BYTES];
};

/* What the callback throws is an uncaught exception, as that of any other callback. */
static void call(struct notices *n, napi_value argument) {
  napi_value callback, global, error;
  napi_get_reference_value(n->env, n->callback, &callback);
  napi_get_global(n->env, &global);
  if (napi_make_callback(n->env, n->context, global, callback, 1, &argument, NULL) != napi_pending_exception) return;
  if (napi_get_and_clear_last_exception(n->env, &error) == napi_ok) napi_fatal_exception(n->env, error);
}

/* Bytes of one datagram, or null: some were lost. */
static void tell(struct notices *n, ssize_t length) {
  napi_handle_scope scope;
  napi_value argument;
  if (napi_open_handle_scope(n->env, &scope) != napi_ok) return;
  if (length < 0) napi_get_null(n->env, &argument);
  if (length < 0 || napi_create_buffer_copy(n->env, (size_t)length, n->datagram, NULL, &argument) == napi_ok)
    call(n, argument);
  napi_close_handle_scope(n->env, scope);
}

static int from_kernel(const struct sockaddr_nl *sender, socklen_t size) {
  return size == sizeof *sender && sender->nl_pid == 0;
}

/* An overrun shows as an error of the socket, which reading takes away. */
static void read_some(uv_poll_t *handle, int status, int events) {
  struct notices *n = (struct notices *)handle;
  (void)status;
  (void)events;
  for (int i = 0; i < AT_ONCE && n->fd >= 0; i++) {
    struct sockaddr_nl sender;
    socklen_t size = sizeof sender;
    ssize_t length = recvfrom(n->fd, n->datagram, sizeof n->datagram, MSG_DONTWAIT | MSG_TRUNC,
                              (struct sockaddr *)&sender, &size);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length >= 0 && !from_kernel(&sender, size)) continue;
    tell(n, length > DATAGRAM_BYTES ? -1 : length);
  }
  /* libuv stops the watch after an error. */
  if (n->fd >= 0) uv_poll_start(&n->poll, UV_READABLE, read_some);
}

static int open_socket(const uint32_t *groups, size_t count) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  struct sockaddr_nl any = {.nl_family = AF_NETLINK};
  int size = RECEIVE_BUFFER;
  if (fd < 0) return -1;
  /* Without privileges the buffer stays smaller, and more is lost sooner. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  int failed = bind(fd, (struct sockaddr *)&any, sizeof any) < 0;
  for (size_t i = 0; i < count && !failed; i++)
    failed = setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof groups[i]) < 0;
  if (!failed) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static void forget(uv_handle_t *handle) { free(handle); }

static void stop(struct notices *n) {
  if (n->fd < 0) return;
  uv_poll_stop(&n->poll);
  close(n->fd);
  n->fd = -1;
  napi_delete_reference(n->env, n->callback);
  napi_async_destroy(n->env, n->context);
}

/* Ends the watch when the process, or the worker, ends without. */
static void clean_up(void *data) { stop(data); }

static void finalize(napi_env env, void *data, void *hint) {
  struct notices *n = data;
  (void)hint;
  napi_remove_env_cleanup_hook(env, clean_up, n);
  stop(n);
  uv_close((uv_handle_t *)&n->poll, forget);
}

static int watch(napi_env env, struct notices *n, napi_value callback) {
  uv_loop_t *loop = NULL;
  napi_value name;
  n->env = env;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || uv_poll_init(loop, &n->poll, n->fd) != 0)
    return throw_error(env, "EINVAL", "route notices cannot be watched");
  napi_create_string_utf8(env, "pbs-route-notices", NAPI_AUTO_LENGTH, &name);
  napi_create_reference(env, callback, 1, &n->callback);
  napi_async_init(env, NULL, name, &n->context);
  uv_poll_start(&n->poll, UV_READABLE, read_some);
  uv_unref((uv_handle_t *)&n->poll);
  return 0;
}

/* watchRoutes(groups, callback): the callback gets a Buffer with the messages of one datagram, or null when some were lost. */
napi_value addon_watch_routes(napi_env env, napi_callback_info info) {
  napi_value a[2], value = NULL;
  void *groups = NULL;
  size_t count = 0;
  if (get_arguments(env, info, 2, a) < 0 || get_typed_array(env, a[0], napi_uint32_array, &groups, &count) < 0)
    return NULL;
  struct notices *n = count <= MAX_GROUP ? calloc(1, sizeof *n) : NULL;
  if (!n) {
    throw_error(env, "ENOMEM", "too many groups, or out of memory");
    return NULL;
  }
  n->fd = open_socket(groups, count);
  if (n->fd < 0) throw_errno(env, errno, "route notices cannot be had");
  if (n->fd < 0 || watch(env, n, a[1]) < 0) {
    if (n->fd >= 0) close(n->fd);
    free(n);
    return NULL;
  }
  napi_create_external(env, n, finalize, NULL, &value);
  napi_type_tag_object(env, value, &NOTICES_TAG);
  napi_add_env_cleanup_hook(env, clean_up, n);
  return value;
}

/* unwatchRoutes(watch): no call follows. Twice does nothing. */
napi_value addon_unwatch_routes(napi_env env, napi_callback_info info) {
  napi_value a[1];
  if (get_arguments(env, info, 1, a) < 0) return NULL;
  void *watch = get_external(env, a[0], &NOTICES_TAG, "this is no watch");
  if (watch) stop(watch);
  return NULL;
}
