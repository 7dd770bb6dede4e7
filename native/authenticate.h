/*
 * Packets of flows with AH (RFC 4302): the header is inserted at the sender, verified at routers, verified and taken out
 * at the receiver. Works batch by batch, so that one signature can serve all packets of a batch.
 */
#ifndef PBS_AUTHENTICATE_H
#define PBS_AUTHENTICATE_H

#include "judge.h"

enum { AUTHENTICATE_BATCH = 128 };

/* What becomes of a packet. */
struct outcome {
  enum decision decision;
  const uint8_t *bytes; /* to go on in the packet's place; NULL: the packet as it is */
  size_t length;
  int failed; /* authentication, and so it is dropped */
  uint32_t emit; /* not 0: the bytes are to be sent by a socket, as the kernel would find them too large; in IPv6 in
                    fragments of so many bytes at most */
};

/* Of one thread. */
struct authenticator;

/* NULL with errno. */
struct authenticator *authenticator_create(void);
void authenticator_destroy(struct authenticator *authenticator);

/*
 * Judges packet number `index` of a batch with all its bytes at hand, and counts it; with fewer than the packet has
 * (`captured`) it is dropped. The outcome stands when authenticator_finish has returned, and its bytes until the next
 * batch.
 */
void authenticate(struct authenticator *authenticator, const struct judge *judge, int index,
                  const struct packet *packet, uint8_t *bytes, size_t captured, uint64_t hash, uint64_t now,
                  struct counters *counters);

/*
 * A message that came for this host and is no flow's packet. One that says that a packet of ours was too big with its AH
 * becomes one that the kernel understands; others go on as they are.
 */
void authenticate_message(struct authenticator *authenticator, const struct judge *judge, int index,
                          const uint8_t *bytes, size_t length, uint64_t now, struct counters *counters);

/* The end of a batch: signs what waits for a common signature. */
void authenticator_finish(struct authenticator *authenticator, struct counters *counters);

struct outcome authenticator_outcome(const struct authenticator *authenticator, int index);

#endif
