/* What the XDP programs and this process share beside the flow table. */
#ifndef PBS_XDP_LAYOUT_H
#define PBS_XDP_LAYOUT_H

#include "places.h"
#include "table-layout.h"

/* Packets by what became of them. The names are what people and JavaScript see. */
#define XDP_COUNTERS(X)                       \
  X(SENT, "accept")                           \
  X(HANDED, "xdp.handed")                     \
  X(DROP_NO_PERMISSION, "drop.no-permission") \
  X(DROP_EXPIRED, "drop.expired")             \
  X(DROP_OVER_VOLUME, "drop.over-volume")     \
  X(DROP_BLOCKED, "drop.blocked")             \
  X(DROP_OFF_PATH, "drop.off-path")           \
  X(DROP_RATE_SIGNALLING, "drop.rate.signalling") \
  X(DROP_RATE_ICMP, "drop.rate.icmp")         \
  X(DROP_RATE_EXEMPT, "drop.rate.exempt")     \
  X(DROP_RATE_OPEN, "drop.rate.open")         \
  X(EVENTS_LATE, "events.late")               \
  X(PASS_OTHER, "xdp.pass.other")             \
  X(PASS_UNUSUAL, "xdp.pass.unusual")         \
  X(PASS_SIGNALLING, "xdp.pass.signalling")   \
  X(PASS_ICMP, "xdp.pass.icmp")               \
  X(PASS_EXEMPT, "xdp.pass.exempt")           \
  X(PASS_AUTHENTICATED, "xdp.pass.ah")        \
  X(PASS_LOCAL, "xdp.pass.local")             \
  X(PASS_ROUTE, "xdp.pass.route")             \
  X(PASS_EGRESS, "xdp.pass.egress")           \
  X(PASS_SOURCE, "xdp.pass.source")           \
  X(PASS_OPEN, "xdp.pass.open")

enum xdp_counter {
#define XDP_COUNTER_ENUM(name, text) XDP_##name,
  XDP_COUNTERS(XDP_COUNTER_ENUM)
#undef XDP_COUNTER_ENUM
  XDP_COUNTER_COUNT
};

/* Of one processor: only programs that run there write, and none is interrupted by another. */
struct xdp_processor {
  struct reader_slot reader;
  SHARED(uint64_t) of[24];
};

_Static_assert(XDP_COUNTER_COUNT <= 24, "every counter has its place");

/* What a program tells: an event of native/events.h. */
struct xdp_event {
  struct flow_key key;
  uint64_t value;
  uint32_t type;
  uint32_t zero;
};

/* Receive queues of an interface that AF_XDP can serve, and the longest frame that it takes. */
enum { XDP_QUEUES = 64, XDP_HANDED_MAX = 1700 };

/* What a program puts before a frame with AH that it hands to this process: the frame is otherwise ready to be sent. */
struct xdp_handed {
  uint32_t interface; /* to send by */
  uint32_t came_by;
  uint8_t from[6]; /* hardware address of the last hop */
  uint8_t zero[2];
};

/* Packets that pass by rules alone: `words` of the flow's key under a mask, and a range of ports. */
struct xdp_exempt {
  uint64_t mask[FLOW_KEY_WORDS];
  uint64_t value[FLOW_KEY_WORDS];
  uint16_t source_from, source_to; /* host order */
  uint16_t destination_from, destination_to;
  uint64_t class; /* number of the configured class, and EXEMPT_LEGACY */
};

/* EXEMPT_LEGACY: hosts that need no permission, asked about only when a packet has none. */
enum { XDP_EXEMPTS = 16, EXEMPT_LEGACY = 256 };

_Static_assert(sizeof(struct xdp_exempt) == 96, "as src/traffic/xdp-native.ts says");

/* Classes of packets that go to the stack without permission; the configured ones follow. */
enum xdp_class { CLASS_SIGNALLING, CLASS_ICMP, CLASS_OPEN, CLASS_EXEMPT, XDP_CLASSES = CLASS_EXEMPT + XDP_EXEMPTS };

/* A bucket that empties steadily: each unit takes `interval`, and it holds `tolerance`. */
struct xdp_rate {
  uint64_t interval;  /* nanoseconds << XDP_INTERVAL_SHIFT, for a packet or a byte; 0: no bound */
  uint64_t tolerance; /* nanoseconds */
};

enum { XDP_INTERVAL_SHIFT = 10, XDP_SOURCE_CELLS = 8192 };

/* Packets a second; of CLASS_OPEN and of legacy hosts bytes a second. */
struct xdp_bounds {
  struct xdp_rate total, source;
};

/* A source whose every packet is dropped. The map's value is until when, in monotonic nanoseconds. */
struct xdp_source {
  uint8_t address[16]; /* as in a flow's key */
  uint64_t family;
};

_Static_assert(sizeof(struct xdp_source) == 24, "no holes");

/* A flow and where its packets are dropped: an interface, with address 0 whatever that is. The map's value is as that above. */
struct xdp_off_path {
  struct flow_key flow;
  place_name place;
};

_Static_assert(sizeof(struct xdp_off_path) == FLOW_KEY_BYTES + 8, "no holes");

/* Of the interface that a program is attached to: constants of the program, filled in before it is loaded. */
struct xdp_setting {
  uint64_t key[2]; /* of the table */
  uint64_t mask;
  uint32_t total;
  uint8_t address[6]; /* frames to others are not this host's */
  uint8_t enforce;
  uint8_t check_source; /* as net.ipv4.conf.*.rp_filter: 1 strict, 2 loose */
  uint8_t generic;
  uint8_t exempts;
  uint8_t open; /* packets without permission have a class of the stack's rules */
  struct xdp_exempt exempt[XDP_EXEMPTS];
  struct xdp_bounds bounds[XDP_CLASSES];
};

#endif
