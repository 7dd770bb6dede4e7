/*
 * The XDP programs of this network namespace and the maps that they share. Attached programs keep their maps, and
 * interfaces keep their programs, whether or not a process looks after them; the next process finds both by the
 * interfaces and goes on with the same table.
 */
#ifndef PBS_XDP_H
#define PBS_XDP_H

#include <stddef.h>

#include "table.h"
#include "xdp-layout.h"

/* Up to XDP_EVENTS their memory lies in this process, too. */
enum xdp_map {
  XDP_CONTROL,
  XDP_INDEX,
  XDP_ENTRIES,
  XDP_PROCESSORS,
  XDP_PLACES,
  XDP_EVENTS,
  XDP_EGRESS,
  XDP_SHAPED,
  XDP_SERVED,
  XDP_BLOCKED,
  XDP_OFF_PATH,
  XDP_MAPS
};

enum xdp_mode { XDP_NATIVE, XDP_GENERIC };

/*
 * How programs may send by an interface: not at all, so that its queueing discipline has all packets; as generic programs do; or
 * as native ones do, too.
 */
enum xdp_egress { EGRESS_STACK, EGRESS_GENERIC, EGRESS_NATIVE };

struct xdp_options {
  const char *object; /* file with the compiled programs */
  uint32_t capacity, refusals;
  int enforce, open;
  uint32_t exempts;
  struct xdp_exempt exempt[XDP_EXEMPTS];
  struct xdp_bounds bounds[XDP_CLASSES];
};

struct xdp {
  char object[4096];
  struct xdp_options options; /* but for the object's name */
  int map[XDP_MAPS];
  void *memory[XDP_EVENTS]; /* of the maps that lie in this process too */
  size_t bytes[XDP_EVENTS];
  int lock; /* a socket whose name one process in a network namespace can have */
  uint32_t processors;
  int adopted; /* the maps are those of an earlier process */
};

/* Whether the kernel takes the programs of a file: loads them, attaches nothing. 0 or -1 with errno. */
int xdp_probe(const char *object);

/* NULL with errno: EADDRINUSE (another process has them), EPERM, ENOMEM, or what else the kernel says. */
struct xdp *xdp_open(const struct xdp_options *options);

/* Programs stay attached, and go on by what the table says. */
void xdp_close(struct xdp *xdp);

/* For table_create_in; until xdp_close. */
struct table_space xdp_space(const struct xdp *xdp);

/*
 * Attaches the program to an interface, in place of an earlier one of ours. The table must be there. -1 with errno; EBUSY:
 * somebody else's program is there. 1 when super-packets are forwarded by a program, too (generic mode, Linux 6.6 or newer), or
 * else 0. `check_source` is as net.ipv4.conf.*.rp_filter.
 */
int xdp_attach(struct xdp *xdp, unsigned interface, enum xdp_mode mode, int check_source);

/* Takes our programs off an interface. 1 when it was there, 0 when not, -1 with errno. */
int xdp_detach(unsigned interface);

/* Of an interface that was never named here, it is EGRESS_GENERIC. 0 or -1 with errno. */
int xdp_allow_egress(struct xdp *xdp, unsigned interface, enum xdp_egress egress);

/* The XSKMAP of the program on an interface: a descriptor to be closed, or -1 with errno. */
int xdp_queues(unsigned interface);

/* Whether a process sends packets with AH by an interface, so that programs may hand it such packets. 0 or -1 with errno. */
int xdp_serve(struct xdp *xdp, unsigned interface, int served);

/*
 * Has every packet from a source dropped until then (monotonic nanoseconds), or, with 0, no longer. 0 or -1 with errno: E2BIG
 * when there are too many.
 */
int xdp_block(struct xdp *xdp, const struct xdp_source *source, uint64_t until);

/* The same of a flow's packets at a place. */
int xdp_block_place(struct xdp *xdp, const struct xdp_off_path *place, uint64_t until);

/* Sum over all processors. */
uint64_t xdp_counter(const struct xdp *xdp, enum xdp_counter which);

/*
 * Runs the program of an interface on a frame that nobody sent. Returns the action, with the frame as it was left in
 * `out`, whose length `*out_bytes` is set; or -1 with errno.
 */
int xdp_try(unsigned interface, const uint8_t *frame, size_t bytes, uint8_t *out, size_t *out_bytes);

/*
 * The same of the program for super-packets, with a frame of segments of so many bytes. Returns XDP_REDIRECT when it is sent,
 * XDP_DROP, or XDP_PASS; or -1 with errno.
 */
int xdp_try_segments(unsigned interface, const uint8_t *frame, size_t bytes, uint32_t segment);

/* What an interface can do: bits of enum netdev_xdp_act of Linux 6.3 and newer. -1 with errno when the kernel does not say. */
int xdp_features(unsigned interface, uint64_t *features);

/*
 * Gives the kernel's threads that receive for an interface (threaded NAPI) a real-time priority, 1 to 99. Returns how many
 * there are; -1 with errno when the kernel does not say, or does not allow it.
 */
int receive_threads_raise(unsigned interface, int priority);

#endif
