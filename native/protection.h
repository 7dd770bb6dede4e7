/*
 * What is done about AH with a flow's packets, and with which security associations (RFC 4302). A protection belongs to
 * an entry of the flow table; queue threads read it without locks while the thread that changes the table puts another
 * association in place. What was taken out is freed only after every reader has left.
 */
#ifndef PBS_PROTECTION_H
#define PBS_PROTECTION_H

#include <stdatomic.h>
#include <stdint.h>

#include "ah.h"
#include "allowance.h"
#include "packet.h"
#include "table.h"
#include "tally.h"

enum protection_action {
  PROTECT_INSERT, /* at the sender */
  PROTECT_VERIFY, /* at a router */
  PROTECT_STRIP,  /* at the receiver: verify, then take the header out */
};

/* What a reader needs is all in here, so that it cannot take the key of one and the action of another. */
struct association {
  uint32_t spi;
  enum ah_algorithm algorithm;
  enum protection_action action;
  struct ah_key *key;
  union {
    struct { /* verify, strip */
      struct ah_window window;
      struct allowance forgeries; /* signatures that may be looked at in vain */
      struct received_tally received;
    };
    struct { /* insert */
      _Atomic uint64_t sequence; /* last number given */
      struct allowance messages; /* that its packets are too big */
      struct sent_tally sent;
    };
  };
  _Atomic uint8_t rekey_raised;
  uint64_t stamp; /* while retired: the ticket after which it is free */
  struct association *next;
};

enum protection_failure {
  FAILURE_MISSING,
  FAILURE_MALFORMED,
  FAILURE_SPI,
  FAILURE_REPLAY,
  FAILURE_ICV,
  FAILURE_COUNT,
};

struct protection {
  _Alignas(64) _Atomic(struct association *) current; /* NULL: packets have no AH */
  _Atomic(struct association *) previous;             /* NULL: before, they had none */
  _Atomic uint64_t overlap_until;                     /* monotonic nanoseconds; `previous` still holds until then */
  _Atomic uint64_t overlap_left;                      /* bytes that it may still carry */
  _Atomic uint64_t failures[FAILURE_COUNT];
  uint32_t number;
  uint32_t next; /* of the free or the retired list */
  uint64_t stamp;
};

struct protections {
  struct table *table; /* whose readers are waited for */
  struct protection *all;
  uint32_t total, unused, free;
  uint32_t retired_first, retired_last;
  struct association *retired_associations, **retired_end;
};

/* One for each entry that `table` can hold. 0, or -1 with errno. */
int protections_init(struct protections *p, struct table *table, uint32_t capacity);

/* No reader may be inside. */
void protections_destroy(struct protections *p);

/* A new association; takes the key over, also when it fails. NULL with errno: EINVAL if the SPI is a reserved one. */
struct association *association_create(uint32_t spi, enum ah_algorithm algorithm, enum protection_action action,
                                       struct ah_key *key);
void association_destroy(struct association *association);

/* From here on: the changing thread only. Numbers begin with 1; 0 stands for no protection. */

/* A protection that nobody sees yet, without associations. */
uint32_t protections_take(struct protections *p);

/*
 * Puts `next` in place of the current association (NULL: packets have no AH from now on), which stays good until
 * `overlap_until` for `overlap_bytes`. The same SPI again changes nothing, and 0 is returned; that of the one before
 * brings that one back with the numbers it has seen. Takes `next` over.
 */
int protections_change(struct protections *p, uint32_t number, struct association *next, uint64_t overlap_until,
                       uint64_t overlap_bytes);

/* Readers that come from now on do not find it. Those inside find it unchanged. */
void protections_release(struct protections *p, uint32_t number);

/* Gives up the association before once its overlap is over, so that its key does not stay. */
void protections_expire(struct protections *p, uint32_t number, uint64_t now);

/* Frees and wipes what no reader works with any more. */
void protections_reclaim(struct protections *p);

/* From here on: any thread between enter and leave of the table. */

static inline struct protection *protections_at(const struct protections *p, uint32_t number) {
  return &p->all[number];
}

/* How a packet is to be treated, as far as its headers tell. */
enum screening {
  SCREEN_PLAIN,   /* without regard to AH */
  SCREEN_DEEP,    /* every byte of it is needed */
  SCREEN_MISSING, /* it lacks the AH that it must have */
};

/* `length` is what the packet counts. Bytes of the overlap are taken when it passes by that. */
enum screening protection_screen(struct protection *p, const struct packet *packet, uint64_t length, uint64_t now);

/* The association with which a packet that has AH is verified: the current one, or the one before within the overlap. */
struct association *protection_find(struct protection *p, uint32_t spi, uint64_t now);

/* Takes bytes of the overlap if `a` is not the current association any more. 0 if there are none left. */
int protection_take_overlap(struct protection *p, const struct association *a, uint64_t length, uint64_t now);

/*
 * To insert: a mark that the other side can compare at. To verify: the highest number of what was let through, and its
 * bytes.
 */
struct tally_mark association_mark(struct association *association, uint64_t now);

/* To verify: bytes let through up to a number under the current association or the one before. 0 if not known. */
int protection_bytes_up_to(struct protection *p, uint32_t spi, uint32_t sequence, uint64_t *bytes);

/* Whether packets with AH are verified by it; `association` may be NULL. */
static inline int association_verifies(const struct association *association) {
  return association && association->action != PROTECT_INSERT;
}

void protection_failed(struct protection *p, enum protection_failure why);

#endif
