#include "xdp-forward.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <net/ethernet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "thread.h"
#include "xdp-layout.h"
#include "xsk.h"

enum {
  BATCH = 64,
  RETRY_MILLISECONDS = 1, /* while an interface has not taken all that is to be sent */
  NICENESS = -10, /* as that of the queues' threads: packets come in softirq, which else outruns this one */
};

_Static_assert((int)BATCH <= (int)AUTHENTICATE_BATCH, "an outcome for each packet of a batch");

struct parsed {
  struct packet packet;
  uint64_t hash;
  enum packet_problem problem;
  unsigned out; /* interface */
};

struct forwarder {
  struct engine *engine;
  struct authenticator *authenticator;
  struct xsk_memory *memory;
  struct counters *counters;
  int reader;
  pthread_t thread;
  int started;
  int wake_fd; /* readable: something changes, or it ends */
  _Atomic int stopping;
  _Atomic int changing; /* a change waits for the lock */
  pthread_mutex_t lock; /* of the sockets; the thread keeps it while it waits for packets, too: none is closed then */
  pthread_cond_t changed;
  uint64_t lost; /* by sockets that are closed */
  struct xsk *socket[XSK_SOCKETS];
  uint32_t sockets;
  struct pollfd poll[XSK_SOCKETS + 1];
  struct xsk_received received[BATCH];
  struct parsed parsed[BATCH];
};

/* A flow's packets leave by one socket, whatever its number, in the order of their coming. */
static struct xsk *way_out(struct forwarder *f, unsigned interface) {
  for (uint32_t i = 0; i < f->sockets; i++)
    if (xsk_interface(f->socket[i]) == interface) return f->socket[i];
  return NULL;
}

static void parse(struct forwarder *f, const struct xsk_received *frame, struct parsed *p) {
  struct xdp_handed handed;
  const size_t link = sizeof(struct ether_header);
  memcpy(&handed, frame->bytes - sizeof handed, sizeof handed);
  p->out = handed.interface;
  p->problem = frame->length > link
                   ? packet_parse(&p->packet, frame->bytes + link, frame->length - link, frame->length - link, 0)
                   : PACKET_MALFORMED;
  if (p->problem != PACKET_FINE) return;
  p->packet.place = place_of(handed.came_by, handed.from);
  p->hash = table_hash(f->engine->table, &p->packet.key);
  table_prefetch_index(f->engine->table, p->hash);
}

static void judge(struct forwarder *f, int count) {
  uint64_t now = clock_now();
  for (int i = 0; i < count; i++)
    if (f->parsed[i].problem == PACKET_FINE) table_prefetch_entry(f->engine->table, f->parsed[i].hash);
  for (int i = 0; i < count; i++) {
    struct parsed *p = &f->parsed[i];
    if (p->problem != PACKET_FINE) continue;
    authenticate(f->authenticator, &f->engine->judge, i, &p->packet, f->received[i].bytes + sizeof(struct ether_header),
                 f->received[i].length - sizeof(struct ether_header), p->hash, now, f->counters);
  }
  authenticator_finish(f->authenticator, f->counters);
}

static void drop(struct forwarder *f, int index, enum counter why) {
  counters_add(f->counters, why, 1);
  xsk_drop(f->memory, f->received[index].frame);
}

/* A program hands over only what is to be forwarded as it is. What else was decided, was decided since. */
static void send_one(struct forwarder *f, int index) {
  const struct parsed *p = &f->parsed[index];
  if (p->problem != PACKET_FINE) {
    drop(f, index, judge_problem(p->problem));
    return;
  }
  struct outcome outcome = authenticator_outcome(f->authenticator, index);
  struct xsk_received *frame = &f->received[index];
  if (outcome.decision == DECIDE_DROP) {
    xsk_drop(f->memory, frame->frame);
    return;
  }
  if (outcome.decision != DECIDE_ACCEPT || outcome.bytes) {
    drop(f, index, COUNTER_DROP_NO_PERMISSION);
    return;
  }
  struct xsk *out = way_out(f, p->out);
  /* What stands behind the datagram was neither verified nor counted, and may be more than the way out takes. */
  frame->length = (uint32_t)sizeof(struct ether_header) + p->packet.length;
  if (!out || xsk_send(out, frame) < 0) drop(f, index, COUNTER_DROP_SEND_FULL);
}

/* Returns whether all was taken. */
static int flush_all(struct forwarder *f) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < f->sockets; i++) left |= xsk_flush(f->socket[i]);
  return left == 0;
}

static int turn(struct forwarder *f, struct xsk *from) {
  int count = xsk_receive(from, f->received, BATCH);
  if (count == 0) return 0;
  counters_add_packets(f->counters, (uint64_t)count);
  for (int i = 0; i < count; i++) parse(f, &f->received[i], &f->parsed[i]);
  table_enter(f->engine->table, f->reader);
  judge(f, count);
  for (int i = 0; i < count; i++) send_one(f, i);
  flush_all(f);
  table_leave(f->engine->table, f->reader);
  for (uint32_t i = 0; i < f->sockets; i++) xsk_refill(f->socket[i]);
  return count;
}

static int is_wanted(const struct forwarder *f) {
  return atomic_load_explicit(&f->changing, memory_order_relaxed) ||
         atomic_load_explicit(&f->stopping, memory_order_relaxed);
}

static int turn_of_all(struct forwarder *f) {
  int any = 0;
  for (uint32_t i = 0; i < f->sockets && !is_wanted(f); i++) any |= turn(f, f->socket[i]);
  return any;
}

static void wait_for_work(struct forwarder *f) {
  uint64_t times;
  int all_sent = flush_all(f);
  for (uint32_t i = 0; i < f->sockets; i++) xsk_refill(f->socket[i]);
  f->poll[0] = (struct pollfd){.fd = f->wake_fd, .events = POLLIN};
  for (uint32_t i = 0; i < f->sockets; i++)
    f->poll[i + 1] = (struct pollfd){.fd = xsk_fd(f->socket[i]), .events = POLLIN};
  if (poll(f->poll, f->sockets + 1, all_sent ? -1 : RETRY_MILLISECONDS) <= 0) return;
  if (f->poll[0].revents && read(f->wake_fd, &times, sizeof times) < 0) return;
}

static void *run(void *argument) {
  struct forwarder *f = argument;
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);
  pthread_mutex_lock(&f->lock);
  while (!atomic_load_explicit(&f->stopping, memory_order_relaxed)) {
    while (atomic_load_explicit(&f->changing, memory_order_relaxed)) pthread_cond_wait(&f->changed, &f->lock);
    if (!turn_of_all(f) && !is_wanted(f)) wait_for_work(f);
  }
  pthread_mutex_unlock(&f->lock);
  return NULL;
}

static void wake(struct forwarder *f) {
  uint64_t one = 1;
  if (write(f->wake_fd, &one, sizeof one) < 0) return; /* it counts to 2^64, so it cannot fail */
}

/* It does what the queue for authenticated packets does, and keeps to the same processor. */
static int start_thread(struct forwarder *f) {
  const struct worker *queue = f->engine->authenticator;
  errno = thread_start(&f->thread, run, f, "pbs-xdp-ah", queue ? queue->processor : ANY_PROCESSOR);
  f->started = errno == 0;
  return f->started ? 0 : -1;
}

static int become_reader(struct forwarder *f) {
  f->reader = table_reader(f->engine->table);
  if (f->reader >= 0) return 0;
  errno = EMFILE;
  return -1;
}

struct forwarder *forwarder_start(struct engine *engine) {
  struct forwarder *f = calloc(1, sizeof *f);
  if (!f) return NULL;
  f->engine = engine;
  f->counters = &engine->forwarded;
  f->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  f->authenticator = authenticator_create();
  f->memory = xsk_memory_create();
  pthread_mutex_init(&f->lock, NULL);
  pthread_cond_init(&f->changed, NULL);
  if (f->wake_fd >= 0 && f->authenticator && f->memory && become_reader(f) == 0 && start_thread(f) == 0) return f;
  int error = errno;
  forwarder_stop(f);
  errno = error;
  return NULL;
}

void forwarder_stop(struct forwarder *f) {
  atomic_store(&f->stopping, 1);
  if (f->started) {
    wake(f);
    pthread_join(f->thread, NULL);
  }
  for (uint32_t i = 0; i < f->sockets; i++) xsk_close(f->socket[i]);
  if (f->memory) xsk_memory_destroy(f->memory);
  authenticator_destroy(f->authenticator);
  if (f->wake_fd >= 0) close(f->wake_fd);
  pthread_cond_destroy(&f->changed);
  pthread_mutex_destroy(&f->lock);
  free(f);
}

static void lock(struct forwarder *f) {
  atomic_store(&f->changing, 1);
  wake(f);
  pthread_mutex_lock(&f->lock);
}

static void unlock(struct forwarder *f) {
  atomic_store(&f->changing, 0);
  pthread_cond_signal(&f->changed);
  pthread_mutex_unlock(&f->lock);
}

static struct xsk *socket_of(const struct forwarder *f, unsigned interface, uint32_t queue) {
  for (uint32_t i = 0; i < f->sockets; i++)
    if (xsk_interface(f->socket[i]) == interface && xsk_queue(f->socket[i]) == queue) return f->socket[i];
  return NULL;
}

/* A queue whose socket was just closed cannot be had at once, so one that is there stays. */
static int add_queue(struct forwarder *f, unsigned interface, uint32_t queue, int map) {
  struct xsk *known = socket_of(f, interface, queue);
  struct xsk *socket = known ? known : xsk_open(f->memory, interface, queue);
  if (!socket) return -1;
  int fd = xsk_fd(socket);
  if (bpf_map_update_elem(map, &queue, &fd, BPF_ANY) == 0) {
    if (!known) f->socket[f->sockets++] = socket;
    return 0;
  }
  int error = errno;
  if (!known) xsk_close(socket);
  errno = error;
  return -1;
}

static void remove_all(struct forwarder *f, unsigned interface) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < f->sockets; i++) {
    if (xsk_interface(f->socket[i]) != interface) {
      f->socket[kept++] = f->socket[i];
      continue;
    }
    f->lost += xsk_lost(f->socket[i]);
    xsk_close(f->socket[i]);
  }
  f->sockets = kept;
}

/* The kernel says by EINVAL that there is no further queue. */
int forwarder_add(struct forwarder *f, unsigned interface, int map) {
  uint32_t queue = 0;
  lock(f);
  while (queue < XDP_QUEUES && add_queue(f, interface, queue, map) == 0) queue++;
  int error = errno;
  if (queue == 0) remove_all(f, interface);
  unlock(f);
  errno = error;
  return queue == 0 ? -1 : (int)queue;
}

void forwarder_remove(struct forwarder *f, unsigned interface) {
  lock(f);
  remove_all(f, interface);
  unlock(f);
}

uint64_t forwarder_lost(const struct forwarder *f) {
  uint64_t sum = f->lost;
  for (uint32_t i = 0; i < f->sockets; i++) sum += xsk_lost(f->socket[i]);
  return sum;
}
