#include "xdp-events.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "thread.h"
#include "xdp-layout.h"

enum { FULL_WAIT_MICROSECONDS = 1000 };

struct xdp_listener {
  struct ring_buffer *ring;
  struct events *events;
  pthread_t thread;
  int started;
  int stop_fd;
  _Atomic int stopping;
};

/* While the engine's own ring is full the programs' fills up, and then they try again at later packets. */
static int hand_on(void *context, void *data, size_t bytes) {
  struct xdp_listener *l = context;
  const struct xdp_event *event = data;
  if (bytes < sizeof *event) return 0;
  while (!events_push(l->events, (enum event_type)event->type, &event->key, event->value)) {
    if (atomic_load(&l->stopping)) return 0;
    usleep(FULL_WAIT_MICROSECONDS);
  }
  return 0;
}

static void *run(void *argument) {
  struct xdp_listener *l = argument;
  struct pollfd fds[2] = {{.fd = ring_buffer__epoll_fd(l->ring), .events = POLLIN},
                          {.fd = l->stop_fd, .events = POLLIN}};
  while (!atomic_load(&l->stopping)) {
    if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
    ring_buffer__consume(l->ring);
  }
  return NULL;
}

static int start(struct xdp_listener *l) {
  errno = thread_start(&l->thread, run, l, "pbs-xdp", ANY_PROCESSOR);
  l->started = errno == 0;
  return l->started ? 0 : -1;
}

struct xdp_listener *xdp_listen(int map, struct events *events) {
  struct xdp_listener *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->events = events;
  l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  l->ring = ring_buffer__new(map, hand_on, l, NULL);
  if (l->stop_fd >= 0 && l->ring && start(l) == 0) return l;
  int error = errno;
  xdp_listener_stop(l);
  errno = error;
  return NULL;
}

void xdp_listener_stop(struct xdp_listener *l) {
  uint64_t one = 1;
  atomic_store(&l->stopping, 1);
  if (l->started && write(l->stop_fd, &one, sizeof one) == sizeof one) pthread_join(l->thread, NULL);
  ring_buffer__free(l->ring);
  if (l->stop_fd >= 0) close(l->stop_fd);
  free(l);
}
