/*
 * IPsec AH in transport mode over IPv4 and IPv6 (RFC 4302), with 32-bit sequence numbers. Packets in, packets out: no
 * queue, no clock. Keys and windows may be used by several threads at once; a scratch belongs to one.
 *
 * At a node:   ah_find -> look the association up -> ah_verify -> (receiver) ah_strip
 * At a sender: ah_next_sequence -> ah_insert; or, with a tree algorithm, many packets -> ah_insert_batch
 */
#ifndef PBS_AH_H
#define PBS_AH_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are those that JavaScript uses (ALGORITHMS in src/base/algorithm.ts). */
enum ah_algorithm {
  AH_HMAC_SHA256_128, /* RFC 4868 */
  AH_HMAC_SHA384_192, /* RFC 4868 */
  AH_AES_CMAC_96,     /* RFC 4494 */
  AH_HMAC_SHA1_96,    /* RFC 2404 */
  AH_RSA_2048,        /* as RFC 4359, PKCS#1 v1.5, but with SHA-256 */
  AH_ECDSA_P256,      /* with SHA-256; r and s, 32 bytes each */
  AH_ED25519,         /* RFC 8032, over the covered bytes themselves */
  AH_TREE_RSA_2048,   /* one signature over the root of a hash tree of packets: tree.h */
  AH_TREE_ECDSA_P256,
  AH_TREE_ED25519,
  AH_ALGORITHMS,
};

enum {
  AH_FIXED = 12,                /* bytes of the header before the ICV */
  AH_WINDOW = 1024,             /* sequence numbers behind the highest that are still taken */
  AH_BATCH_MAX = 64,            /* packets under one signature */
  AH_SPI_FIRST = 256,           /* below are reserved numbers */
  AH_LENGTH_MAX = 376,          /* of all algorithms and both families; see ah_length_max */
};

/* The last sequence number is never passed; from the other on, a new association is wanted. */
#define AH_SEQUENCE_LAST UINT32_MAX
#define AH_SEQUENCE_REKEY 0xc0000000u

enum ah_result {
  AH_OK,
  AH_NONE,        /* find: a whole datagram without AH */
  AH_MALFORMED,   /* lengths, versions, or options that contradict each other; headers out of all proportion */
  AH_FRAGMENT,    /* of a datagram: AH is on whole ones only */
  AH_REPLAYED,    /* sequence number 0, too old, or seen before */
  AH_BAD_ICV,     /* does not verify, or its length is none of the algorithm's */
  AH_PRESENT,     /* insert: there is one already */
  AH_TOO_LONG,    /* insert: beyond 65535 bytes, or beyond the room given */
  AH_NO_SEQUENCE, /* insert: the sequence number is 0 */
  AH_BUSY,        /* verify: a signature would have to be looked at, and that is not allowed now */
  AH_FAILED,      /* the cryptographic library: out of memory; or a key that cannot sign */
};

/* ---- Keys ---- */

/* Prepared for one algorithm. With a tree algorithm it also keeps the last roots that verified: one key per SPI. */
struct ah_key;

/*
 * Symmetric: the key, 32, 48, 16 or 20 bytes. Signatures: SubjectPublicKeyInfo in DER; with `signs`, the private key as
 * PKCS#8 in DER, which verifies too. NULL with errno: EINVAL if it is not a key of that algorithm, ENOMEM. Makes no use
 * of `bytes` afterwards.
 */
struct ah_key *ah_key_create(enum ah_algorithm algorithm, const uint8_t *bytes, size_t length, int signs);

/* Wipes it. NULL is nothing. */
void ah_key_destroy(struct ah_key *key);

/* ---- Room for one thread's work, so that nothing is allocated for a packet ---- */

struct ah_scratch;

/* NULL with errno. */
struct ah_scratch *ah_scratch_create(void);
void ah_scratch_destroy(struct ah_scratch *scratch);

/* ---- Sizes ---- */

int ah_is_tree(enum ah_algorithm algorithm);

/* Bytes of the whole header, padding included. `family` is 4 or 6; `packets` of a batch, 1 if there is no tree. */
size_t ah_length(enum ah_algorithm algorithm, int family, unsigned packets);

/* The most that it can be: what the path's MTU has to leave room for. */
size_t ah_length_max(enum ah_algorithm algorithm, int family);

/* ---- Replay (RFC 4302 section 3.4.3) ---- */

/* One for each association that verifies. All zero is an empty one. */
struct ah_window {
  _Atomic uint32_t top;                              /* highest number accepted; 0: none yet */
  _Atomic uint64_t blocks[AH_WINDOW / 32 + 1];       /* number of a block of 32 sequence numbers, and a bit for each */
};

/* Whether the number could still be accepted. */
int ah_window_check(const struct ah_window *window, uint32_t sequence);

/* Accepts it, and moves the window on. 0 if it is too old or was accepted before: of two threads one gets 1. */
int ah_window_accept(struct ah_window *window, uint32_t sequence);

/* ---- Receiving ---- */

/* Where AH is in a datagram. */
struct ah_place {
  uint8_t family;       /* 4 or 6 */
  uint8_t next;         /* what comes after AH */
  uint16_t next_field;  /* the byte before AH that says 51 */
  uint16_t at;          /* of AH */
  uint16_t ah_length;
  uint32_t length;      /* of the whole datagram by its header: bytes given beyond are not part of it */
  uint32_t spi;
  uint32_t sequence;
};

/* Finds AH in a datagram of which every byte is given. AH_OK, AH_NONE, AH_MALFORMED or AH_FRAGMENT. */
enum ah_result ah_find(struct ah_place *place, const uint8_t *bytes, size_t length);

/*
 * Verifies a packet whose AH was found, and then takes its number into the window (NULL: no window, for tests and
 * tools). AH_OK, AH_MALFORMED, AH_REPLAYED or AH_BAD_ICV; anything but AH_OK leaves the window as it was. Constant in
 * time as to the ICV. Other windows than that of the packet's association are not looked at, nor is the SPI.
 */
enum ah_result ah_verify(struct ah_scratch *scratch, struct ah_key *key, struct ah_window *window,
                         const uint8_t *bytes, const struct ah_place *place);

/* Public-key operations that a verification may cost. */
struct ah_effort {
  int allowed; /* 0: what needs one is AH_BUSY; MACs, and packets of a batch whose root is known, go on */
  int wasted;  /* set to 1 when one was done and the signature is not good */
};

/* The same within limits. */
enum ah_result ah_verify_within(struct ah_scratch *scratch, struct ah_key *key, struct ah_window *window,
                                const uint8_t *bytes, const struct ah_place *place, struct ah_effort *effort);

/*
 * Takes AH out where the packet lies: the headers before it are moved up to what follows, and lengths and checksum are
 * put right. The packet then begins at the pointer that is returned, with `place->length - place->ah_length` bytes.
 */
uint8_t *ah_strip(uint8_t *bytes, const struct ah_place *place);

/* ---- Sending ---- */

/* The number after `*last`, or 0 when all are used up. Any thread. */
static inline uint32_t ah_next_sequence(_Atomic uint64_t *last) {
  uint64_t next = atomic_fetch_add_explicit(last, 1, memory_order_relaxed) + 1;
  return next <= AH_SEQUENCE_LAST ? (uint32_t)next : 0;
}

/*
 * Writes the packet with AH into `out`, which must not overlap it; `*out_length` are its bytes. AH goes behind IPv4
 * options, and behind hop-by-hop, routing, and such destination options as a routing header follows. A tree algorithm
 * makes a batch of one. AH_OK, or AH_MALFORMED, AH_FRAGMENT, AH_PRESENT, AH_TOO_LONG, AH_NO_SEQUENCE, AH_FAILED.
 */
enum ah_result ah_insert(struct ah_scratch *scratch, struct ah_key *key, uint32_t spi, uint32_t sequence,
                         const uint8_t *bytes, size_t length, uint8_t *out, size_t room, size_t *out_length);

/* One packet of a batch: what goes in, and what comes out. */
struct ah_outgoing {
  const uint8_t *bytes;
  size_t length;
  uint32_t sequence;
  uint8_t *out;
  size_t room;
  size_t out_length;     /* if the result is AH_OK */
  enum ah_result result;
};

/*
 * The same for up to AH_BATCH_MAX packets of one association with one signature; the key is of a tree algorithm. All
 * get an AH of ah_length(algorithm, family, count) bytes. A packet that cannot take it is left out, as its result says.
 * AH_OK unless the signature fails: then none is good.
 */
enum ah_result ah_insert_batch(struct ah_scratch *scratch, struct ah_key *key, uint32_t spi,
                               struct ah_outgoing *packets, unsigned count);

#endif
