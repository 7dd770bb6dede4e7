/* One NFQUEUE: receiving packets in batches and sending verdicts in runs. Knows nothing of flows. */
#ifndef PBS_QUEUE_H
#define PBS_QUEUE_H

#include <libmnl/libmnl.h>
#include <stdint.h>

#include "counters.h"
#include "places.h"

/* The kernel hands out, and takes back, no more than the length field of an attribute can say. */
enum { QUEUE_BATCH = 128, QUEUE_PACKET_MAX = 65535 - 4 };

/* How much of each packet a queue hands out. */
enum queue_copy {
  QUEUE_COPY_HEADERS, /* the first bytes; segment-offload super-packets stay whole */
  QUEUE_COPY_ALL,     /* every byte, each datagram as it will be on the wire */
};

struct queued {
  const uint8_t *bytes;
  uint32_t captured;
  uint32_t full;
  uint32_t id;
  uint32_t mark;
  uint32_t interface; /* by which it came in; 0: it is this host's own */
  uint8_t address[6];  /* of the last hop there; zeros where links have none */
  uint8_t hook;      /* enum nf_inet_hooks */
  uint8_t offloaded; /* segment-offload super-packet */
};

struct queue_buffers;

struct queue {
  struct mnl_socket *socket;
  struct queue_buffers *buffers;
  uint16_t number;
  enum queue_copy copy;
};

/*
 * Binds the queue. 0, or -1 with errno: EPERM without CAP_NET_ADMIN, and also when another process has it. Nothing is
 * ever let through for lack of room.
 */
int queue_open(struct queue *queue, uint16_t number, enum queue_copy copy, uint32_t max_length);

/* The kernel drops whatever still waits in the queue. */
void queue_close(struct queue *queue);

int queue_fd(const struct queue *queue);

/*
 * Takes what is there, at most QUEUE_BATCH packets, without waiting. Their bytes stay valid until the next call.
 * -1 with errno when the queue is broken.
 */
int queue_receive(struct queue *queue, struct queued *out, struct counters *counters);

/* Verdicts on their way. One set for each thread that sends. */
struct verdicts {
  struct queue *queue;
  struct counters *counters;
  int runs;              /* every packet gets its verdict in order, so runs of equal ones go as one */
  uint32_t expected;     /* number of the next packet, if none was lost */
  int pending;           /* there is an open run */
  uint32_t verdict, mark, last;
  size_t length, room;
  int failed;            /* errno of a send that failed */
  char *buffer;
};

/* 0, or -1 with errno. */
int verdicts_init(struct verdicts *verdicts, struct queue *queue, int runs, struct counters *counters);
void verdicts_destroy(struct verdicts *verdicts);

/* `verdict` is an NF_* verdict; the packet's mark becomes `mark` unless that is 0. */
void verdicts_add(struct verdicts *verdicts, uint32_t id, uint32_t verdict, uint32_t mark);

/*
 * Accepts a packet with other bytes in its place, at most QUEUE_PACKET_MAX, and `mark` unless that is 0. For queues that
 * copy all.
 */
void verdicts_add_changed(struct verdicts *verdicts, uint32_t id, uint32_t mark, const uint8_t *bytes, size_t length);

/* Sends what is on its way. 0, or -1 with errno if anything since the last call could not be sent. */
int verdicts_flush(struct verdicts *verdicts);

#endif
