/*
 * What a bad path does to packets: it drops, delays and reorders those that a rule puts into its queue.
 * Usage: path QUEUE LOSS BURST DELAY SPREAD SEED
 *   LOSS    share of packets that are dropped, 0 to 1
 *   BURST   how many are dropped in a row each time
 *   DELAY   milliseconds that each packet waits
 *   SPREAD  up to so many milliseconds more, each packet by itself, so that they overtake each other
 * Says "listening", and when it is told to end {"seen": N, "dropped": N, "first": MS}: the time of the first drop, since
 * 1970. What waits then is let through.
 */
#include <errno.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../native/clock.h"
#include "../../native/queue.h"

enum { WAITING = 65536 };

struct waiting {
  uint64_t due;
  uint32_t id;
};

struct path {
  struct queue queue;
  struct verdicts verdicts;
  struct counters counters;
  double loss, delay, spread;
  unsigned burst, left;
  uint64_t seen, dropped, random;
  double first;
  struct waiting heap[WAITING]; /* soonest first */
  uint32_t count;
};

static volatile sig_atomic_t ending;

static void end(int number) {
  (void)number;
  ending = 1;
}

/* splitmix64: the same seed gives the same fate to the same packets. */
static double random_share(struct path *p) {
  uint64_t z = (p->random += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static double wall_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Bursts begin so much more rarely that their packets add up to the loss that is wanted. */
static int is_lost(struct path *p) {
  if (p->left > 0) {
    p->left--;
    return 1;
  }
  double begin = p->loss >= 1 ? 1 : p->loss / (p->burst * (1 - p->loss) + p->loss);
  if (random_share(p) >= begin) return 0;
  p->left = p->burst - 1;
  return 1;
}

static void swap(struct waiting *a, struct waiting *b) {
  struct waiting c = *a;
  *a = *b;
  *b = c;
}

static void wait_until(struct path *p, uint32_t id, uint64_t due) {
  uint32_t at = p->count++;
  p->heap[at] = (struct waiting){due, id};
  for (; at > 0 && p->heap[(at - 1) / 2].due > p->heap[at].due; at = (at - 1) / 2)
    swap(&p->heap[(at - 1) / 2], &p->heap[at]);
}

static uint32_t take_soonest(struct path *p) {
  uint32_t id = p->heap[0].id;
  p->heap[0] = p->heap[--p->count];
  for (uint32_t at = 0;;) {
    uint32_t least = at, left = 2 * at + 1;
    for (uint32_t child = left; child <= left + 1 && child < p->count; child++)
      if (p->heap[child].due < p->heap[least].due) least = child;
    if (least == at) return id;
    swap(&p->heap[at], &p->heap[least]);
    at = least;
  }
}

static void take_in(struct path *p, const struct queued *packet, uint64_t now) {
  p->seen++;
  if (is_lost(p)) {
    if (p->dropped++ == 0) p->first = wall_now();
    verdicts_add(&p->verdicts, packet->id, NF_DROP, 0);
    return;
  }
  double wait = p->delay + p->spread * random_share(p);
  if (wait <= 0 || p->count == WAITING) verdicts_add(&p->verdicts, packet->id, NF_ACCEPT, 0);
  else wait_until(p, packet->id, now + (uint64_t)(wait * (double)NANOSECONDS_PER_MILLISECOND));
}

static void let_go(struct path *p, uint64_t until) {
  while (p->count > 0 && p->heap[0].due <= until) verdicts_add(&p->verdicts, take_soonest(p), NF_ACCEPT, 0);
}

/* Signals are let in only here, so that none is missed. */
static void wait_for_work(struct path *p, const sigset_t *open) {
  struct pollfd fd = {.fd = queue_fd(&p->queue), .events = POLLIN};
  struct timespec timeout = {0};
  uint64_t now = clock_now();
  if (p->count > 0 && p->heap[0].due > now) {
    timeout.tv_sec = (time_t)((p->heap[0].due - now) / NANOSECONDS_PER_SECOND);
    timeout.tv_nsec = (long)((p->heap[0].due - now) % NANOSECONDS_PER_SECOND);
  }
  ppoll(&fd, 1, p->count > 0 ? &timeout : NULL, open);
}

static int run(struct path *p, const sigset_t *open) {
  static struct queued packets[QUEUE_BATCH];
  while (!ending) {
    int count = queue_receive(&p->queue, packets, &p->counters);
    if (count < 0) return errno;
    uint64_t now = clock_now();
    for (int i = 0; i < count; i++) take_in(p, &packets[i], now);
    let_go(p, clock_now());
    if (verdicts_flush(&p->verdicts) < 0) return errno;
    if (count == 0) wait_for_work(p, open);
  }
  let_go(p, UINT64_MAX);
  verdicts_flush(&p->verdicts);
  return 0;
}

static void block_signals(sigset_t *open) {
  sigset_t blocked;
  struct sigaction action = {.sa_handler = end};
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGINT);
  sigprocmask(SIG_BLOCK, &blocked, open);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
}

int main(int argc, char **argv) {
  static struct path p;
  sigset_t open;
  if (argc != 7) return 2;
  p.loss = atof(argv[2]);
  p.burst = (unsigned)atoi(argv[3]);
  p.delay = atof(argv[4]);
  p.spread = atof(argv[5]);
  p.random = strtoull(argv[6], NULL, 10);
  block_signals(&open);
  if (p.burst == 0 || queue_open(&p.queue, (uint16_t)atoi(argv[1]), QUEUE_COPY_ALL, WAITING) < 0 ||
      verdicts_init(&p.verdicts, &p.queue, 0, &p.counters) < 0) {
    perror("path");
    return 1;
  }
  puts("listening");
  fflush(stdout);
  int error = run(&p, &open);
  printf("{\"seen\": %llu, \"dropped\": %llu, \"first\": %.3f}\n", (unsigned long long)p.seen,
         (unsigned long long)p.dropped, p.first);
  verdicts_destroy(&p.verdicts);
  queue_close(&p.queue);
  return error != 0;
}
