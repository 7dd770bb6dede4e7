/*
 * Packets that go out by a raw socket instead of where they came from: the kernel, told of a smaller size to make room
 * for AH, would find them too large once AH is in.
 */
#ifndef PBS_EMIT_H
#define PBS_EMIT_H

#include <stddef.h>
#include <stdint.h>

/* In the mark of what is sent, so that the rules let it pass. As SENT_MARK in src/base/marks.ts. */
#define SENT_MARK 0x00080000u

struct emitter {
  int socket4;
  int socket6; /* -1: this host has no IPv6 */
  uint32_t identification;
};

/* 0 or -1 with errno. */
int emitter_open(struct emitter *emitter);
void emitter_close(struct emitter *emitter);

/*
 * Sends a whole datagram, with `mark` and SENT_MARK. IPv6 datagrams above `limit` go as fragments. 0, or -1 with errno
 * if not all of it could be sent: EMSGSIZE when the link does not take it.
 */
int emitter_send(struct emitter *emitter, const uint8_t *bytes, size_t length, uint32_t limit, uint32_t mark);

/* One fragment of an IPv6 datagram. */
struct fragment {
  uint8_t bytes[2048 + 40];
  size_t length;
};

/*
 * Writes the fragment that begins `*offset` bytes behind the unfragmentable part, which ends at `at`, and moves
 * the offset on. `next_field` is the byte that says what comes at `at`. 0: there is no more, or it cannot be.
 */
int fragment_next(struct fragment *out, const uint8_t *bytes, size_t length, size_t at, size_t next_field,
                  uint32_t limit, uint32_t identification, size_t *offset);

#endif
