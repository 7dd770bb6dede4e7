/*
 * Offers UDP datagrams at a rate, and counts those that arrive, with nothing to say to each other meanwhile: a control
 * connection would starve beside datagrams that fill the path.
 *
 * usage: datagrams send SOURCE_PORT ADDRESS PORT PAYLOAD RATE SECONDS
 *        datagrams receive PORT SECONDS
 *
 * send: never more than BURST at once; what the host does not take in time is not offered later. Prints {"offered":N}.
 * receive: prints a line when it listens. After the end of its input it waits until nothing comes any more, SECONDS at most,
 * and prints {"datagrams":N,"seconds":S}: how many, and the time from the first to the last of them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 32, PAYLOAD_MAX = 1472, BUFFER = 16 << 20, IDLE_MS = 300, TICK_NS = 200000, BEHIND_MS = 20 };

static uint8_t payloads[BURST][PAYLOAD_MAX];
static struct iovec vectors[BURST];
static struct mmsghdr messages[BURST];

static void die(const char *what) {
  fprintf(stderr, "datagrams: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void prepare(size_t length) {
  for (int i = 0; i < BURST; i++) {
    vectors[i] = (struct iovec){payloads[i], length};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
}

static int open_socket(int port) {
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int size = BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0) die("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0) die("receive buffer");
  return fd;
}

/* A full queue on the way says so by an error, or by making this wait. */
static int send_some(int fd, unsigned count) {
  int sent = sendmmsg(fd, messages, count, 0);
  return sent > 0 ? sent : 1;
}

static int send_all(char **arguments) {
  struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[2]))};
  double rate = atof(arguments[4]), seconds = atof(arguments[5]);
  int fd = open_socket(atoi(arguments[0])), payload = atoi(arguments[3]);
  if (payload < 1 || payload > PAYLOAD_MAX || rate < 1 || seconds <= 0 || seconds > 60) die("arguments");
  if (inet_pton(AF_INET, arguments[1], &there.sin_addr) != 1) die("address");
  if (connect(fd, (struct sockaddr *)&there, sizeof there) < 0) die("connect");
  prepare((size_t)payload);
  double start = now(), passed = 0, behind = rate * BEHIND_MS / 1e3 + 1, due = 0, used = 0;
  uint64_t offered = 0;
  while ((passed = now() - start) < seconds) {
    due = rate * passed - used;
    if (due > behind) used += due - behind;
    if (due < 1) {
      nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
      continue;
    }
    int sent = send_some(fd, due < BURST ? (unsigned)due : BURST);
    offered += (uint64_t)sent;
    used += sent;
  }
  printf("{\"offered\":%llu}\n", (unsigned long long)offered);
  return 0;
}

struct arrivals {
  uint64_t datagrams;
  double first, last;
};

static int take(int fd, struct arrivals *a) {
  int count = recvmmsg(fd, messages, BURST, MSG_DONTWAIT, NULL);
  if (count <= 0) return 0;
  a->last = now();
  if (a->datagrams == 0) a->first = a->last;
  a->datagrams += (uint64_t)count;
  return 1;
}

static int receive_all(char **arguments) {
  struct arrivals a = {0};
  int ending = 0, fd = open_socket(atoi(arguments[0]));
  double most = atof(arguments[1]), until = 0;
  prepare(PAYLOAD_MAX);
  puts("{\"listening\":true}");
  fflush(stdout);
  for (;;) {
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = ending ? -1 : STDIN_FILENO, .events = POLLIN}};
    int ready = poll(fds, 2, ending ? IDLE_MS : -1);
    if (ready < 0 && errno != EINTR) die("poll");
    if (ending && (ready == 0 || now() > until)) break;
    char byte;
    if (!ending && fds[1].revents && read(STDIN_FILENO, &byte, 1) <= 0) {
      ending = 1;
      until = now() + most;
    }
    if (fds[0].revents) take(fd, &a);
  }
  printf("{\"datagrams\":%llu,\"seconds\":%.6f}\n", (unsigned long long)a.datagrams, a.last - a.first);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 8 && strcmp(argv[1], "send") == 0) return send_all(argv + 2);
  if (argc == 4 && strcmp(argv[1], "receive") == 0) return receive_all(argv + 2);
  fprintf(stderr, "usage: %s send SOURCE_PORT ADDRESS PORT PAYLOAD RATE SECONDS | receive PORT SECONDS\n", argv[0]);
  return 2;
}
