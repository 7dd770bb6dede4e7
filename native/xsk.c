#include "xsk.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  HEADROOM = 0,
  FLUSH_TRIES = 64,
  RINGS = 4,
  SETTLE_TRIES = 20, /* of a millisecond */
  SENT = 0x80,       /* beside a socket's number: the frame is to be sent, or the interface has it */
  ASTRAY = 0xff,     /* an interface may still read it */
};

/* The kernel is at the other end of each: producer and consumer count up, and wrap. */
struct ring {
  void *map;
  size_t map_bytes;
  _Atomic uint32_t *producer, *consumer;
  void *places;
  uint32_t mask;
  uint32_t mine; /* this end's own count, ahead of what the other sees */
};

struct xsk_memory {
  uint8_t *frames;
  xsk_frame *free; /* a stack */
  uint32_t free_count;
  uint8_t *holder;   /* of each frame, the number of the socket whose rings have it, and SENT; 0: none */
  struct xsk *first; /* of all sockets */
  uint32_t sockets;
};

struct xsk {
  struct xsk_memory *memory;
  struct xsk *next;
  int fd;
  unsigned interface;
  uint32_t queue;
  uint8_t number;
  uint32_t to_fill, to_send; /* frames that the kernel has */
  struct ring fill, completion, receive, send;
};

struct xsk_memory *xsk_memory_create(void) {
  struct xsk_memory *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  void *frames = mmap(NULL, (size_t)XSK_FRAMES * XSK_FRAME_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  m->frames = frames == MAP_FAILED ? NULL : frames;
  m->free = calloc(XSK_FRAMES, sizeof *m->free);
  m->holder = calloc(XSK_FRAMES, sizeof *m->holder);
  if (!m->frames || !m->free || !m->holder) {
    xsk_memory_destroy(m);
    errno = ENOMEM;
    return NULL;
  }
  for (uint32_t i = 0; i < XSK_FRAMES; i++) m->free[i] = (xsk_frame)i * XSK_FRAME_BYTES;
  m->free_count = XSK_FRAMES;
  return m;
}

void xsk_memory_destroy(struct xsk_memory *m) {
  if (m->frames) munmap(m->frames, (size_t)XSK_FRAMES * XSK_FRAME_BYTES);
  free(m->holder);
  free(m->free);
  free(m);
}

static int set(int fd, int option, const void *value, socklen_t length) {
  return setsockopt(fd, SOL_XDP, option, value, length);
}

static int map_ring(int fd, struct ring *ring, const struct xdp_ring_offset *at, uint64_t page, uint32_t places,
                    size_t place_bytes) {
  ring->map_bytes = at->desc + places * place_bytes;
  void *map = mmap(NULL, ring->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)page);
  if (map == MAP_FAILED) return -1;
  ring->map = map;
  ring->producer = (_Atomic uint32_t *)((uint8_t *)map + at->producer);
  ring->consumer = (_Atomic uint32_t *)((uint8_t *)map + at->consumer);
  ring->places = (uint8_t *)map + at->desc;
  ring->mask = places - 1;
  return 0;
}

static int map_rings(struct xsk *s) {
  struct xdp_mmap_offsets at;
  socklen_t length = sizeof at;
  if (getsockopt(s->fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &length) < 0) return -1;
  if (map_ring(s->fd, &s->fill, &at.fr, XDP_UMEM_PGOFF_FILL_RING, XSK_RECEIVE, sizeof(xsk_frame)) < 0) return -1;
  if (map_ring(s->fd, &s->completion, &at.cr, XDP_UMEM_PGOFF_COMPLETION_RING, XSK_SEND, sizeof(xsk_frame)) < 0)
    return -1;
  if (map_ring(s->fd, &s->receive, &at.rx, XDP_PGOFF_RX_RING, XSK_RECEIVE, sizeof(struct xdp_desc)) < 0) return -1;
  return map_ring(s->fd, &s->send, &at.tx, XDP_PGOFF_TX_RING, XSK_SEND, sizeof(struct xdp_desc));
}

/* The first socket brings the memory in, the others share it. */
static int register_memory(const struct xsk *s) {
  const struct xdp_umem_reg memory = {.addr = (uint64_t)(uintptr_t)s->memory->frames,
                                      .len = (uint64_t)XSK_FRAMES * XSK_FRAME_BYTES,
                                      .chunk_size = XSK_FRAME_BYTES,
                                      .headroom = HEADROOM};
  return s->memory->first ? 0 : set(s->fd, XDP_UMEM_REG, &memory, sizeof memory);
}

static int size_rings(int fd) {
  const int receive = XSK_RECEIVE, send = XSK_SEND;
  if (set(fd, XDP_UMEM_FILL_RING, &receive, sizeof receive) < 0) return -1;
  if (set(fd, XDP_UMEM_COMPLETION_RING, &send, sizeof send) < 0) return -1;
  if (set(fd, XDP_RX_RING, &receive, sizeof receive) < 0) return -1;
  return set(fd, XDP_TX_RING, &send, sizeof send);
}

static int bind_with(const struct xsk *s, const struct xsk *partner) {
  struct sockaddr_xdp address = {.sxdp_family = AF_XDP,
                                 .sxdp_ifindex = s->interface,
                                 .sxdp_queue_id = s->queue,
                                 .sxdp_flags = partner ? XDP_SHARED_UMEM : XDP_COPY,
                                 .sxdp_shared_umem_fd = partner ? (uint32_t)partner->fd : 0};
  return bind(s->fd, (const struct sockaddr *)&address, sizeof address);
}

/* EBADF is said of a partner whose interface is gone. */
static int bind_to(const struct xsk *s) {
  const struct xsk *partner = s->memory->first;
  int result = bind_with(s, partner);
  while (result < 0 && errno == EBADF && partner && (partner = partner->next)) result = bind_with(s, partner);
  return result;
}

static int set_up(struct xsk *s) {
  s->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (s->fd < 0 || register_memory(s) < 0 || size_rings(s->fd) < 0 || map_rings(s) < 0) return -1;
  return bind_to(s);
}

static void release(struct xsk *s) {
  struct ring *rings[RINGS] = {&s->fill, &s->completion, &s->receive, &s->send};
  for (int i = 0; i < RINGS; i++)
    if (rings[i]->map) munmap(rings[i]->map, rings[i]->map_bytes);
  if (s->fd >= 0) close(s->fd);
  free(s);
}

static int is_taken(const struct xsk_memory *m, uint32_t number) {
  for (const struct xsk *s = m->first; s; s = s->next)
    if (s->number == number) return 1;
  return 0;
}

/* The lowest that no socket has. */
static uint8_t free_number(const struct xsk_memory *m) {
  uint32_t number = 1;
  while (is_taken(m, number)) number++;
  return (uint8_t)number;
}

/* What each socket may have to fill, and as many to send: all of them find theirs whatever the others do. */
static uint32_t share(const struct xsk_memory *m) {
  uint32_t each = XSK_FRAMES / 2 / (m->sockets ? m->sockets : 1);
  return each < XSK_RECEIVE ? each : XSK_RECEIVE;
}

struct xsk *xsk_open(struct xsk_memory *memory, unsigned interface, uint32_t queue) {
  if (memory->sockets == XSK_SOCKETS) {
    errno = ENOSPC;
    return NULL;
  }
  struct xsk *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->memory = memory;
  s->interface = interface;
  s->queue = queue;
  s->number = free_number(memory);
  s->fd = -1;
  if (set_up(s) < 0) {
    int error = errno;
    release(s);
    errno = error;
    return NULL;
  }
  s->next = memory->first;
  memory->first = s;
  memory->sockets++;
  xsk_refill(s);
  return s;
}

static void hold(const struct xsk *s, xsk_frame frame, int sent) {
  s->memory->holder[frame / XSK_FRAME_BYTES] = (uint8_t)(s->number | sent);
}

/* Where a frame lies may be told as a place within it. */
void xsk_drop(struct xsk_memory *m, xsk_frame frame) {
  m->holder[frame / XSK_FRAME_BYTES] = 0;
  m->free[m->free_count++] = frame - frame % XSK_FRAME_BYTES;
}

int xsk_fd(const struct xsk *s) { return s->fd; }

unsigned xsk_interface(const struct xsk *s) { return s->interface; }

uint32_t xsk_queue(const struct xsk *s) { return s->queue; }

uint64_t xsk_lost(const struct xsk *s) {
  struct xdp_statistics statistics = {0};
  socklen_t length = sizeof statistics;
  if (getsockopt(s->fd, SOL_XDP, XDP_STATISTICS, &statistics, &length) < 0) return 0;
  return statistics.rx_dropped + statistics.rx_ring_full + statistics.rx_fill_ring_empty_descs;
}

static uint32_t waiting(const struct ring *ring) {
  return atomic_load_explicit(ring->producer, memory_order_acquire) - ring->mine;
}

static uint32_t room(const struct ring *ring) {
  return ring->mask + 1 - (ring->mine - atomic_load_explicit(ring->consumer, memory_order_acquire));
}

static void take_sent(struct xsk *s) {
  struct ring *c = &s->completion;
  const xsk_frame *places = c->places;
  uint32_t count = waiting(c);
  s->to_send -= count;
  for (uint32_t i = 0; i < count; i++) xsk_drop(s->memory, places[c->mine++ & c->mask]);
  atomic_store_explicit(c->consumer, c->mine, memory_order_release);
}

static void fill(struct xsk *s) {
  struct ring *f = &s->fill;
  struct xsk_memory *m = s->memory;
  xsk_frame *places = f->places;
  uint32_t most = share(m), count = s->to_fill < most ? most - s->to_fill : 0;
  if (count > room(f)) count = room(f);
  if (count > m->free_count) count = m->free_count;
  s->to_fill += count;
  for (uint32_t i = 0; i < count; i++) {
    xsk_frame frame = m->free[--m->free_count];
    hold(s, frame, 0);
    places[f->mine++ & f->mask] = frame;
  }
  atomic_store_explicit(f->producer, f->mine, memory_order_release);
}

void xsk_refill(struct xsk *s) {
  take_sent(s);
  fill(s);
}

int xsk_receive(struct xsk *s, struct xsk_received *out, int room) {
  struct ring *r = &s->receive;
  const struct xdp_desc *places = r->places;
  uint32_t count = waiting(r);
  if (count > (uint32_t)room) count = (uint32_t)room;
  for (uint32_t i = 0; i < count; i++) {
    const struct xdp_desc *place = &places[r->mine++ & r->mask];
    s->memory->holder[place->addr / XSK_FRAME_BYTES] = 0;
    out[i] = (struct xsk_received){place->addr, s->memory->frames + place->addr, place->len};
  }
  s->to_fill -= count;
  if (count > 0) atomic_store_explicit(r->consumer, r->mine, memory_order_release);
  return (int)count;
}

int xsk_send(struct xsk *s, const struct xsk_received *frame) {
  struct ring *t = &s->send;
  struct xdp_desc *places = t->places;
  if (room(t) == 0 || s->to_send >= share(s->memory)) return -1;
  hold(s, frame->frame, SENT);
  s->to_send++;
  places[t->mine++ & t->mask] = (struct xdp_desc){.addr = frame->frame, .len = frame->length};
  return 0;
}

static uint32_t unsent(const struct ring *t) { return t->mask + 1 - room(t); }

/* Each call sends some. */
uint32_t xsk_flush(struct xsk *s) {
  struct ring *t = &s->send;
  atomic_store_explicit(t->producer, t->mine, memory_order_release);
  for (int i = 0; i < FLUSH_TRIES && unsent(t) > 0; i++)
    if (sendto(s->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY) break;
  return unsent(t);
}

/* Some interfaces read frames where they lie, and say only by this socket that they have: it waits for that, not for long. */
static void settle(struct xsk *s) {
  for (int i = 0; i < SETTLE_TRIES && s->to_send > unsent(&s->send); i++) {
    poll(NULL, 0, 1);
    take_sent(s);
  }
}

static void take_unsent(struct xsk *s) {
  struct ring *t = &s->send;
  const struct xdp_desc *places = t->places;
  for (uint32_t i = unsent(t); i > 0; i--) hold(s, places[(t->mine - i) & t->mask].addr, 0);
}

/* Of what a closed socket had to fill the kernel makes no use. What an interface may still read is not used again. */
static void reclaim(struct xsk_memory *m, uint8_t number) {
  for (uint32_t i = 0; i < XSK_FRAMES; i++) {
    if (m->holder[i] == number) xsk_drop(m, (xsk_frame)i * XSK_FRAME_BYTES);
    else if (m->holder[i] == (number | SENT)) m->holder[i] = ASTRAY;
  }
}

void xsk_close(struct xsk *s) {
  struct xsk_memory *m = s->memory;
  uint8_t number = s->number;
  struct xsk **at = &m->first;
  while (*at != s) at = &(*at)->next;
  *at = s->next;
  m->sockets--;
  take_sent(s);
  settle(s);
  take_unsent(s);
  release(s);
  reclaim(m, number);
}
