/*
 * AH on ways that are narrower than the sender's link. Routers tell the sender's kernel of packets that are too big, but
 * quote AH, of which that kernel knows nothing: the messages are translated, and the size that they name is made
 * smaller by AH. RFC 5927: only those are believed that know a security association and a recent sequence number.
 * Of one thread.
 */
#ifndef PBS_NARROW_H
#define PBS_NARROW_H

#include "allowance.h"
#include "judge.h"
#include "notes.h"
#include "ways.h"

struct narrow {
  struct ways ways;
  struct notes notes;
  struct allowance messages;
  uint16_t identification; /* for datagrams that have none */
};

/* 0 or -1 with errno. */
int narrow_init(struct narrow *narrow);
void narrow_destroy(struct narrow *narrow);

/* A packet got its AH; `bytes` are those without. */
void narrow_sent(struct narrow *narrow, uint32_t spi, const struct packet *packet, const uint8_t *bytes);

/*
 * Before a packet gets AH: fits it to what is known of its way. `*emit` as in an outcome. Where the sender has to make
 * it smaller, the message that says so is written into TOO_BIG_MAX bytes of `out`; its length, or 0. May
 * change fields of the IPv4 header that say whether the packet may be cut.
 */
size_t narrow_fit(struct narrow *narrow, enum ah_algorithm algorithm, const struct packet *packet, uint8_t *bytes,
                  uint64_t now, uint32_t *emit, uint8_t *out);

/*
 * A message that came for this host. COUNTER_TOO_BIG_TOLD: it is to be replaced by `*made` bytes of `out`, which has
 * TOO_BIG_MAX; COUNTER_TOO_BIG_OTHER: it is not about a packet of this engine; else why it is to be dropped.
 */
enum counter narrow_translate(struct narrow *narrow, const struct judge *judge, const uint8_t *bytes, size_t length,
                              uint64_t now, uint8_t *out, size_t *made);

#endif
