/* In place of the XDP engine where it could not be built: without libbpf, or a compiler for BPF. */
#include <errno.h>

#include "xdp-events.h"
#include "xdp-forward.h"
#include "xdp.h"

static int absent(void) {
  errno = ENOSYS;
  return -1;
}

int xdp_probe(const char *object) {
  (void)object;
  return absent();
}

struct xdp *xdp_open(const struct xdp_options *options) {
  (void)options;
  absent();
  return NULL;
}

void xdp_close(struct xdp *x) { (void)x; }

struct table_space xdp_space(const struct xdp *x) {
  (void)x;
  return (struct table_space){0};
}

int xdp_attach(struct xdp *x, unsigned interface, enum xdp_mode mode, int check_source) {
  (void)x;
  (void)interface;
  (void)mode;
  (void)check_source;
  return absent();
}

/* Who could not attach a program has none to detach. */
int xdp_detach(unsigned interface) {
  (void)interface;
  return 0;
}

int xdp_allow_egress(struct xdp *x, unsigned interface, enum xdp_egress egress) {
  (void)x;
  (void)interface;
  (void)egress;
  return absent();
}

int xdp_block(struct xdp *x, const struct xdp_source *source, uint64_t until) {
  (void)x;
  (void)source;
  (void)until;
  return absent();
}

int xdp_block_place(struct xdp *x, const struct xdp_off_path *place, uint64_t until) {
  (void)x;
  (void)place;
  (void)until;
  return absent();
}

int xdp_try_segments(unsigned interface, const uint8_t *frame, size_t bytes, uint32_t segment) {
  (void)interface;
  (void)frame;
  (void)bytes;
  (void)segment;
  return absent();
}

int xdp_queues(unsigned interface) {
  (void)interface;
  return absent();
}

int xdp_serve(struct xdp *x, unsigned interface, int served) {
  (void)x;
  (void)interface;
  (void)served;
  return absent();
}

uint64_t xdp_counter(const struct xdp *x, enum xdp_counter which) {
  (void)x;
  (void)which;
  return 0;
}

int xdp_try(unsigned interface, const uint8_t *frame, size_t bytes, uint8_t *out, size_t *out_bytes) {
  (void)interface;
  (void)frame;
  (void)bytes;
  (void)out;
  (void)out_bytes;
  return absent();
}

struct xdp_listener *xdp_listen(int map, struct events *events) {
  (void)map;
  (void)events;
  absent();
  return NULL;
}

void xdp_listener_stop(struct xdp_listener *l) { (void)l; }

struct forwarder *forwarder_start(struct engine *engine) {
  (void)engine;
  absent();
  return NULL;
}

void forwarder_stop(struct forwarder *f) { (void)f; }

int forwarder_add(struct forwarder *f, unsigned interface, int map) {
  (void)f;
  (void)interface;
  (void)map;
  return absent();
}

void forwarder_remove(struct forwarder *f, unsigned interface) {
  (void)f;
  (void)interface;
}

uint64_t forwarder_lost(const struct forwarder *f) {
  (void)f;
  return 0;
}
