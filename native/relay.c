#include "relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "relay-device.h"
#include "thread.h"

enum { AT_ONCE = 32, SOCKET_BUFFER = 4 << 20, UDP_HEADER = 8, IPV4_HEADER = 20, IPV6_HEADER = 40, USUAL_MTU = 1500 };

struct relay {
  struct relay_options options;
  int device, socket, stop;
  int connected;
  pthread_t thread;
  _Atomic uint32_t mtu;
  _Atomic uint64_t count[RELAY_COUNTERS];
  struct mmsghdr message[AT_ONCE];
  struct iovec vector[AT_ONCE];
  uint8_t packet[AT_ONCE][RELAY_PACKET_BYTES];
};

int relay_is_packet(const uint8_t *bytes, size_t length) {
  if (length < IPV4_HEADER) return 0;
  return bytes[0] >> 4 == 4 || (bytes[0] >> 4 == 6 && length >= IPV6_HEADER);
}

uint32_t relay_room(int family, uint32_t path_mtu) {
  uint32_t headers = UDP_HEADER + (family == AF_INET ? IPV4_HEADER : IPV6_HEADER);
  if (path_mtu < RELAY_LEAST_MTU + headers) return RELAY_LEAST_MTU;
  return path_mtu - headers < RELAY_PACKET_BYTES ? path_mtu - headers : RELAY_PACKET_BYTES;
}

uint32_t relay_mtu(const struct relay *r) { return atomic_load_explicit(&r->mtu, memory_order_relaxed); }

static void add(struct relay *r, enum relay_counter counter, uint64_t more) {
  atomic_fetch_add_explicit(&r->count[counter], more, memory_order_relaxed);
}

static int family_of(const struct relay *r) { return r->options.to.ss_family; }

static void enlarge(int fd) {
  int size = SOCKET_BUFFER;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
}

/* --- to a relay */

/*
 * Datagrams do not get cut while the path is as wide as the device says. What routers say of it wakes the thread, and shows in
 * IP_MTU.
 */
static int open_sender(int family) {
  int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
  int want = family == AF_INET ? IP_PMTUDISC_WANT : IPV6_PMTUDISC_WANT;
  if (fd < 0) return -1;
  enlarge(fd);
  if (family == AF_INET) {
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &want, sizeof want);
    setsockopt(fd, IPPROTO_IP, IP_RECVERR, &yes, sizeof yes);
  } else {
    setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &want, sizeof want);
    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &yes, sizeof yes);
  }
  return fd;
}

/* Whether the path has become narrower. */
static int follow_path(struct relay *r) {
  int mtu = 0;
  socklen_t size = sizeof mtu;
  int got = family_of(r) == AF_INET ? getsockopt(r->socket, IPPROTO_IP, IP_MTU, &mtu, &size)
                                    : getsockopt(r->socket, IPPROTO_IPV6, IPV6_MTU, &mtu, &size);
  if (got < 0 || mtu <= 0) return 0;
  uint32_t room = relay_room(family_of(r), (uint32_t)mtu), before = relay_mtu(r);
  if (room == before || relay_device_resize(r->options.device, room) < 0) return 0;
  atomic_store_explicit(&r->mtu, room, memory_order_relaxed);
  return room < before;
}

/*
 * As long as the longest packet, and none for the relay: a path that is too narrow shows before it costs a packet. A TCP
 * connection that has waited long would wait twice as long again.
 */
static void probe(struct relay *r) {
  static const uint8_t nothing[RELAY_PACKET_BYTES];
  if (send(r->socket, nothing, relay_mtu(r), 0) < 0) return;
}

/* The kernel chooses the address of this end, anew each time. */
static void reconnect(struct relay *r) {
  struct sockaddr nobody = {.sa_family = AF_UNSPEC};
  socklen_t size = family_of(r) == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  if (r->connected) connect(r->socket, &nobody, sizeof nobody);
  r->connected = connect(r->socket, (const struct sockaddr *)&r->options.to, size) == 0;
  if (!r->connected) return;
  follow_path(r);
  probe(r);
}

/* The next router's link may be narrower still. */
static void hear(struct relay *r) {
  char control[CMSG_SPACE(256)];
  struct msghdr message = {0};
  do {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  } while (recvmsg(r->socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0);
  if (r->connected && follow_path(r)) probe(r);
}

/* Errors that are about one packet, or about packets before: the connection stands. */
static int is_of_packet(int error) {
  return error == EPERM || error == ECONNREFUSED || error == EHOSTUNREACH || error == EMSGSIZE || error == ENOBUFS ||
         error == EACCES;
}

static void send_all(struct relay *r, int count) {
  int at = 0;
  if (!r->connected) reconnect(r);
  while (at < count && r->connected) {
    int sent = sendmmsg(r->socket, &r->message[at], (unsigned)(count - at), 0);
    if (sent > 0) {
      add(r, RELAY_PACKETS, (uint64_t)sent);
      at += sent;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) break;
    if (!is_of_packet(errno)) reconnect(r);
    add(r, RELAY_UNSENT, 1);
    at++;
  }
  add(r, RELAY_UNSENT, (uint64_t)(count - at));
}

static void from_device(struct relay *r) {
  int count = 0;
  while (count < AT_ONCE) {
    ssize_t length = read(r->device, r->packet[count], RELAY_PACKET_BYTES);
    if (length < 0) break;
    if (!relay_is_packet(r->packet[count], (size_t)length)) {
      add(r, RELAY_MALFORMED, 1);
      continue;
    }
    r->vector[count++].iov_len = (size_t)length;
  }
  send_all(r, count);
  if (r->connected && follow_path(r)) probe(r);
}

/* --- at a relay */

static int open_receiver(uint16_t port) {
  struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  int no = 0, fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int is6 = fd >= 0;
  if (!is6) fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  enlarge(fd);
  if (is6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (bind(fd, is6 ? (struct sockaddr *)&any6 : (struct sockaddr *)&any4, is6 ? sizeof any6 : sizeof any4) == 0)
    return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static void into_device(struct relay *r, const struct mmsghdr *m, const uint8_t *packet) {
  if (m->msg_len > 0 && packet[0] == 0) return;
  if ((m->msg_hdr.msg_flags & MSG_TRUNC) || !relay_is_packet(packet, m->msg_len)) add(r, RELAY_MALFORMED, 1);
  else if (write(r->device, packet, m->msg_len) == (ssize_t)m->msg_len) add(r, RELAY_PACKETS, 1);
  else add(r, RELAY_UNSENT, 1);
}

static void from_socket(struct relay *r) {
  for (int i = 0; i < AT_ONCE; i++) r->vector[i].iov_len = RELAY_PACKET_BYTES;
  int count = recvmmsg(r->socket, r->message, AT_ONCE, MSG_DONTWAIT, NULL);
  for (int i = 0; i < count; i++) into_device(r, &r->message[i], r->packet[i]);
}

/* --- both */

static void *run(void *data) {
  struct relay *r = data;
  int serves = family_of(r) == 0;
  struct pollfd wait[] = {{.fd = r->stop, .events = POLLIN},
                          {.fd = serves ? r->socket : r->device, .events = POLLIN},
                          {.fd = serves ? -1 : r->socket}};
  for (;;) {
    if (poll(wait, 3, -1) < 0 && errno != EINTR) return NULL;
    if (wait[0].revents) return NULL;
    if (wait[2].revents) hear(r);
    if (!wait[1].revents) continue;
    if (serves) from_socket(r);
    else from_device(r);
    /* The device was taken away by somebody else: no packet comes any more. */
    if (!serves && (wait[1].revents & (POLLERR | POLLHUP))) return NULL;
  }
}

static void close_all(struct relay *r) {
  int all[] = {r->device, r->socket, r->stop};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i] >= 0) close(all[i]);
  free(r);
}

static void prepare(struct relay *r) {
  for (int i = 0; i < AT_ONCE; i++) {
    r->vector[i].iov_base = r->packet[i];
    r->message[i].msg_hdr.msg_iov = &r->vector[i];
    r->message[i].msg_hdr.msg_iovlen = 1;
  }
}

struct relay *relay_open(const struct relay_options *options) {
  struct relay *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->options = *options;
  int family = family_of(r), error = 0;
  uint32_t mtu = family == 0 ? USUAL_MTU : relay_room(family, USUAL_MTU);
  atomic_init(&r->mtu, mtu);
  prepare(r);
  r->device = r->socket = -1;
  r->stop = eventfd(0, EFD_CLOEXEC);
  if (r->stop >= 0) r->socket = family == 0 ? open_receiver(options->port) : open_sender(family);
  if (r->socket >= 0) r->device = relay_device_open(options->device, mtu, family == 0);
  if (r->device < 0) error = errno;
  if (error == 0) error = thread_start(&r->thread, run, r, "pbs-relay", ANY_PROCESSOR);
  if (error == 0) return r;
  close_all(r);
  errno = error;
  return NULL;
}

void relay_close(struct relay *r) {
  uint64_t one = 1;
  while (write(r->stop, &one, sizeof one) < 0 && errno == EINTR) continue;
  pthread_join(r->thread, NULL);
  close_all(r);
}

uint64_t relay_count(const struct relay *r, enum relay_counter counter) {
  return atomic_load_explicit(&r->count[counter], memory_order_relaxed);
}
