/* Where the frames of AF_XDP sockets are, over rings of which this test is the other end. */
#include <errno.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "pick.h"

enum { SOCKETS_EVER = 4096, CONSUMER_AT = 64, PLACES_AT = 128, HEADROOM_OF_KERNEL = 256, LENGTH = 100, FIRST_FD = 100 };

enum which { FILL, COMPLETION, RECEIVE, SEND_RING, WHICH };

struct fake_ring {
  uint8_t *map;
  uint32_t places;
};

/* The kernel's end of a socket. */
struct fake {
  struct fake_ring ring[WHICH];
  int partner, gone;
  uint64_t in_flight[4096];
  uint32_t flying;
};

static struct fake *fakes[SOCKETS_EVER];
static int sockets_ever;
static int takes;     /* how many frames an interface takes at a call */
static int completes; /* whether they come back while somebody waits */

static struct fake *fake_of(int fd) { return fakes[fd - FIRST_FD]; }

static int fake_socket(int family, int type, int protocol) {
  (void)type;
  (void)protocol;
  CHECK_EQUAL(family, AF_XDP);
  CHECK(sockets_ever < SOCKETS_EVER);
  fakes[sockets_ever] = calloc(1, sizeof(struct fake));
  return FIRST_FD + sockets_ever++;
}

static int fake_setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
  (void)fd;
  (void)level;
  (void)option;
  (void)value;
  (void)length;
  return 0;
}

static int fake_getsockopt(int fd, int level, int option, void *value, socklen_t *length) {
  static const struct xdp_ring_offset at = {.producer = 0, .consumer = CONSUMER_AT, .desc = PLACES_AT};
  (void)fd;
  (void)level;
  if (option != XDP_MMAP_OFFSETS) return memset(value, 0, *length) ? 0 : -1;
  *(struct xdp_mmap_offsets *)value = (struct xdp_mmap_offsets){.rx = at, .tx = at, .fr = at, .cr = at};
  return 0;
}

static enum which ring_at(uint64_t page) {
  return page == XDP_UMEM_PGOFF_FILL_RING         ? FILL
         : page == XDP_UMEM_PGOFF_COMPLETION_RING ? COMPLETION
         : page == XDP_PGOFF_RX_RING              ? RECEIVE
                                                  : SEND_RING;
}

static void *fake_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t page) {
  if (fd < 0) return mmap(at, bytes, protection, flags, fd, page);
  enum which which = ring_at((uint64_t)page);
  struct fake_ring *ring = &fake_of(fd)->ring[which];
  size_t place = which == FILL || which == COMPLETION ? sizeof(uint64_t) : sizeof(struct xdp_desc);
  ring->map = calloc(1, bytes);
  ring->places = (uint32_t)((bytes - PLACES_AT) / place);
  return ring->map;
}

/* A ring lives on in the kernel. */
static int fake_munmap(void *at, size_t bytes) {
  for (int i = 0; i < sockets_ever; i++)
    for (int w = 0; w < WHICH; w++)
      if (fakes[i] && fakes[i]->ring[w].map == at) return 0;
  return munmap(at, bytes);
}

static int fake_bind(int fd, const struct sockaddr *address, socklen_t length) {
  const struct sockaddr_xdp *a = (const void *)address;
  CHECK_EQUAL(length, sizeof *a);
  if (a->sxdp_flags == XDP_SHARED_UMEM && fake_of((int)a->sxdp_shared_umem_fd)->gone) {
    errno = EBADF;
    return -1;
  }
  fake_of(fd)->partner = a->sxdp_flags == XDP_SHARED_UMEM ? (int)a->sxdp_shared_umem_fd : -1;
  return 0;
}

static uint32_t *producer(struct fake *f, enum which w) { return (uint32_t *)f->ring[w].map; }
static uint32_t *consumer(struct fake *f, enum which w) { return (uint32_t *)(f->ring[w].map + CONSUMER_AT); }

static void *place(struct fake *f, enum which w, uint32_t count) {
  size_t bytes = w == FILL || w == COMPLETION ? sizeof(uint64_t) : sizeof(struct xdp_desc);
  return f->ring[w].map + PLACES_AT + (count & (f->ring[w].places - 1)) * bytes;
}

/* Packets come in: how many found a frame and a place. */
static uint32_t arrive(struct fake *f, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    int has_frame = *producer(f, FILL) != *consumer(f, FILL);
    int has_place = *producer(f, RECEIVE) - *consumer(f, RECEIVE) < f->ring[RECEIVE].places;
    if (!has_frame || !has_place) return i;
    uint64_t frame = *(uint64_t *)place(f, FILL, (*consumer(f, FILL))++);
    *(struct xdp_desc *)place(f, RECEIVE, (*producer(f, RECEIVE))++) =
        (struct xdp_desc){.addr = frame + HEADROOM_OF_KERNEL, .len = LENGTH};
  }
  return count;
}

static void complete(struct fake *f, uint32_t count) {
  while (count-- > 0 && f->flying > 0)
    *(uint64_t *)place(f, COMPLETION, (*producer(f, COMPLETION))++) = f->in_flight[--f->flying];
}

static ssize_t fake_sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to,
                           socklen_t to_length) {
  struct fake *f = fake_of(fd);
  (void)bytes;
  (void)length;
  (void)flags;
  (void)to;
  (void)to_length;
  for (int i = 0; i < takes; i++) {
    if (*producer(f, SEND_RING) == *consumer(f, SEND_RING)) return 0;
    struct xdp_desc *d = place(f, SEND_RING, (*consumer(f, SEND_RING))++);
    CHECK(d->addr % 2048 + d->len <= 2048);
    f->in_flight[f->flying++] = d->addr;
  }
  errno = EAGAIN;
  return -1;
}

static int fake_close(int fd) {
  struct fake *f = fake_of(fd);
  for (int w = 0; w < WHICH; w++) free(f->ring[w].map);
  free(f);
  fakes[fd - FIRST_FD] = NULL;
  return 0;
}

static int fake_poll(struct pollfd *fds, nfds_t count, int timeout) {
  (void)fds;
  (void)timeout;
  CHECK_EQUAL(count, 0);
  for (int i = 0; i < sockets_ever && completes; i++)
    if (fakes[i]) complete(fakes[i], UINT32_MAX);
  return 0;
}

#define socket fake_socket
#define setsockopt fake_setsockopt
#define getsockopt fake_getsockopt
#define mmap fake_mmap
#define munmap fake_munmap
#define bind fake_bind
#define sendto fake_sendto
#define close fake_close
#define poll(fds, count, timeout) fake_poll(fds, count, timeout)
#include "../xsk.c"

static void begin(void) {
  sockets_ever = 0;
  takes = 32;
  completes = 1;
}

/* Each frame is free, in somebody's hands, with the kernel, or astray; and in one place only. */
static void check_frames(const struct xsk_memory *m, uint32_t in_hand) {
  static uint8_t seen[XSK_FRAMES];
  uint32_t held = 0, astray = 0, by_sockets = 0;
  memset(seen, 0, sizeof seen);
  CHECK(m->free_count <= XSK_FRAMES);
  for (uint32_t i = 0; i < m->free_count; i++) {
    CHECK_EQUAL(m->free[i] % XSK_FRAME_BYTES, 0);
    CHECK_EQUAL(seen[m->free[i] / XSK_FRAME_BYTES]++, 0);
    CHECK_EQUAL(m->holder[m->free[i] / XSK_FRAME_BYTES], 0);
  }
  for (uint32_t i = 0; i < XSK_FRAMES; i++) {
    astray += m->holder[i] == ASTRAY;
    held += m->holder[i] != 0 && m->holder[i] != ASTRAY;
  }
  for (const struct xsk *s = m->first; s; s = s->next) by_sockets += s->to_fill + s->to_send;
  CHECK_EQUAL(held, by_sockets);
  CHECK_EQUAL(m->free_count + held + astray + in_hand, XSK_FRAMES);
}

static void close_all(struct xsk_memory *m) {
  while (m->first) xsk_close(m->first);
  check_frames(m, 0);
  xsk_memory_destroy(m);
}

static void test_through(void) {
  begin();
  struct xsk_memory *m = xsk_memory_create();
  struct xsk *in = xsk_open(m, 1, 0), *out = xsk_open(m, 2, 0);
  struct xsk_received got[64];
  CHECK_EQUAL(fake_of(xsk_fd(in))->partner, -1);
  CHECK_EQUAL(fake_of(xsk_fd(out))->partner, xsk_fd(in));
  /* Often enough for every ring to have gone around. */
  for (int round = 0; round < 200; round++) {
    CHECK_EQUAL(arrive(fake_of(xsk_fd(in)), 64), 64);
    CHECK_EQUAL(xsk_receive(in, got, 64), 64);
    for (int i = 0; i < 64; i++) {
      CHECK_EQUAL(got[i].bytes - m->frames, got[i].frame);
      CHECK_EQUAL(xsk_send(out, &got[i]), 0);
    }
    CHECK_EQUAL(xsk_flush(out), 0);
    complete(fake_of(xsk_fd(out)), 64);
    xsk_refill(in);
    xsk_refill(out);
    check_frames(m, 0);
  }
  close_all(m);
}

/* Counts are 32 bits wide and wrap. */
static void test_wrap(void) {
  begin();
  struct xsk_memory *m = xsk_memory_create();
  struct xsk *s = xsk_open(m, 1, 0);
  struct fake *f = fake_of(xsk_fd(s));
  struct ring *rings[] = {&s->fill, &s->completion, &s->receive, &s->send};
  const uint32_t near = UINT32_MAX - XSK_RECEIVE - 30;
  struct xsk_received got[64];
  /* What is in the fill ring has to lie where the moved counts say. */
  uint64_t *fill = s->fill.places;
  uint64_t before[XSK_RECEIVE];
  memcpy(before, fill, sizeof before);
  for (uint32_t i = 0; i < s->to_fill; i++) fill[(near + i) & s->fill.mask] = before[i & s->fill.mask];
  for (int i = 0; i < WHICH; i++) {
    uint32_t waiting_there = i == 0 ? s->to_fill : 0;
    atomic_store(rings[i]->producer, near + waiting_there);
    atomic_store(rings[i]->consumer, near);
    rings[i]->mine = i == 0 ? near + waiting_there : near;
  }
  for (int round = 0; round < 40; round++) {
    CHECK_EQUAL(arrive(f, 64), 64);
    CHECK_EQUAL(xsk_receive(s, got, 64), 64);
    for (int i = 0; i < 64; i++) CHECK_EQUAL(xsk_send(s, &got[i]), 0);
    CHECK_EQUAL(xsk_flush(s), 0);
    complete(f, 64);
    xsk_refill(s);
    check_frames(m, 0);
  }
  CHECK(*producer(f, SEND_RING) < near);
  close_all(m);
}

/* Interfaces that take nothing, and floods, leave the others their frames. */
static void test_shares(void) {
  begin();
  struct xsk_memory *m = xsk_memory_create();
  struct xsk *s[XSK_SOCKETS];
  struct xsk_received got[64];
  for (unsigned i = 0; i < XSK_SOCKETS; i++) CHECK((s[i] = xsk_open(m, i + 1, 0)) != NULL);
  errno = 0;
  CHECK(xsk_open(m, 99, 0) == NULL && errno == ENOSPC);
  takes = 0;
  for (int round = 0; round < 100; round++)
    for (int i = 0; i < XSK_SOCKETS; i++) {
      if (i == 7) continue;
      arrive(fake_of(xsk_fd(s[i])), 2048);
      int count = xsk_receive(s[i], got, 64);
      for (int j = 0; j < count; j++)
        if (xsk_send(s[(i + 1) % XSK_SOCKETS], &got[j]) < 0) xsk_drop(m, got[j].frame);
      for (int j = 0; j < XSK_SOCKETS; j++) xsk_flush(s[j]), xsk_refill(s[j]);
    }
  check_frames(m, 0);
  for (int round = 0; round < 100; round++) {
    CHECK_EQUAL(arrive(fake_of(xsk_fd(s[7])), 64), 64);
    CHECK_EQUAL(xsk_receive(s[7], got, 64), 64);
    for (int j = 0; j < 64; j++) xsk_drop(m, got[j].frame);
    for (int j = 0; j < XSK_SOCKETS; j++) xsk_refill(s[j]);
  }
  close_all(m);
}

/* What an interface has not given back when its socket is closed is never filled again. */
static void test_astray(void) {
  begin();
  struct xsk_memory *m = xsk_memory_create();
  struct xsk *in = xsk_open(m, 1, 0), *out = xsk_open(m, 2, 0);
  struct xsk_received got[64];
  for (int again = 0; again < 2; again++) {
    arrive(fake_of(xsk_fd(in)), 64);
    CHECK_EQUAL(xsk_receive(in, got, 64), 64);
    for (int i = 0; i < 64; i++) CHECK_EQUAL(xsk_send(out, &got[i]), 0);
    takes = again ? 64 : 0;
    if (again) completes = 0;
    CHECK_EQUAL(xsk_flush(out), again ? 0 : 64);
    xsk_close(out);
    check_frames(m, 0);
    uint32_t astray = 0;
    for (uint32_t i = 0; i < XSK_FRAMES; i++) astray += m->holder[i] == ASTRAY;
    CHECK_EQUAL(astray, again ? 64 : 0);
    if (!again) out = xsk_open(m, 2, 0);
  }
  close_all(m);
  /* With a little patience all come back. */
  begin();
  m = xsk_memory_create();
  in = xsk_open(m, 1, 0);
  arrive(fake_of(xsk_fd(in)), 64);
  CHECK_EQUAL(xsk_receive(in, got, 64), 64);
  for (int i = 0; i < 64; i++) CHECK_EQUAL(xsk_send(in, &got[i]), 0);
  xsk_flush(in);
  xsk_close(in);
  CHECK_EQUAL(m->free_count, XSK_FRAMES);
  close_all(m);
}

/* The memory is shared with a socket whose interface is still there. */
static void test_partners(void) {
  begin();
  struct xsk_memory *m = xsk_memory_create();
  struct xsk *one = xsk_open(m, 1, 0), *two = xsk_open(m, 2, 0);
  fake_of(xsk_fd(two))->gone = 1;
  struct xsk *three = xsk_open(m, 3, 0);
  CHECK(three != NULL);
  CHECK_EQUAL(fake_of(xsk_fd(three))->partner, xsk_fd(one));
  fake_of(xsk_fd(one))->gone = fake_of(xsk_fd(three))->gone = 1;
  CHECK(xsk_open(m, 4, 0) == NULL && errno == EBADF);
  check_frames(m, 0);
  close_all(m);
}

/* Anything in any order. */
static void test_any(void) {
  begin();
  struct xsk_memory *m = xsk_memory_create();
  struct xsk *s[8] = {0};
  struct xsk_received got[64];
  for (int round = 0; round < 3000; round++) {
    uint32_t which = pick(8), to = pick(8);
    takes = (int)pick(40);
    completes = pick(50) != 0;
    if (!s[which]) s[which] = xsk_open(m, which + 1, 0);
    else if (pick(40) == 0) xsk_close(s[which]), s[which] = NULL;
    if (!s[which]) continue;
    arrive(fake_of(xsk_fd(s[which])), pick(2000));
    int count = xsk_receive(s[which], got, (int)pick(65));
    check_frames(m, (uint32_t)count);
    for (int i = 0; i < count; i++)
      if (!s[to] || pick(4) == 0 || xsk_send(s[to], &got[i]) < 0) xsk_drop(m, got[i].frame);
    if (s[to]) {
      xsk_flush(s[to]);
      complete(fake_of(xsk_fd(s[to])), pick(100));
      xsk_refill(s[to]);
    }
    xsk_refill(s[which]);
    check_frames(m, 0);
  }
  close_all(m);
}

int main(void) {
  test_through();
  test_wrap();
  test_shares();
  test_astray();
  test_partners();
  test_any();
  return CHECK_RESULT();
}
