/*
 * AF_XDP: frames that XDP programs hand to this process, and frames that it sends out of interfaces, without the stack.
 * All sockets share one memory, so that a frame that came in by one goes out by another where it lies. Copy mode, which
 * every driver has. Not for several threads at a time.
 */
#ifndef PBS_XSK_H
#define PBS_XSK_H

#include <stddef.h>
#include <stdint.h>

enum {
  XSK_FRAMES = 16384,
  XSK_FRAME_BYTES = 2048,
  XSK_RECEIVE = 1024,   /* places in the rings of one socket */
  XSK_SEND = 1024,
  XSK_SOCKETS = 15, /* of one memory: each has at least 546 frames to fill and as many to send */
};

struct xsk_memory;
struct xsk;

/* NULL with errno. */
struct xsk_memory *xsk_memory_create(void);

/* All sockets are closed. */
void xsk_memory_destroy(struct xsk_memory *memory);

/* A socket of one receive queue of an interface. NULL with errno: EINVAL where there is no such queue, ENOSPC. */
struct xsk *xsk_open(struct xsk_memory *memory, unsigned interface, uint32_t queue);

/*
 * What it has of frames goes back; those that were to be sent may be lost. No thread may wait for it (xsk_fd): the kernel
 * would go on filling frames until that one has left.
 */
void xsk_close(struct xsk *socket);

int xsk_fd(const struct xsk *socket);
unsigned xsk_interface(const struct xsk *socket);
uint32_t xsk_queue(const struct xsk *socket);

/* Where a frame lies in the memory. */
typedef uint64_t xsk_frame;

/* A frame that has come in; what a program put before it ends where it begins. */
struct xsk_received {
  xsk_frame frame;
  uint8_t *bytes;
  uint32_t length;
};

/* Takes up to `room` frames, each to be given to xsk_send or xsk_drop. Returns how many. */
int xsk_receive(struct xsk *socket, struct xsk_received *out, int room);

/*
 * Queues a frame to be sent. 0, or -1 when the ring is full, or has the socket's share of the frames: the frame is still the
 * caller's.
 */
int xsk_send(struct xsk *socket, const struct xsk_received *frame);

void xsk_drop(struct xsk_memory *memory, xsk_frame frame);

/* Has the kernel send what is queued. Returns how much it did not take now: another flush is to follow. */
uint32_t xsk_flush(struct xsk *socket);

/* Takes back what was sent, and gives the kernel frames to fill, within the socket's share: no socket takes another's. */
void xsk_refill(struct xsk *socket);

/* Frames that the kernel had no place for. */
uint64_t xsk_lost(const struct xsk *socket);

#endif
