/* AES-CMAC with a 128-bit key (RFC 4493). */
#ifndef PBS_CMAC_H
#define PBS_CMAC_H

#include "piece.h"

enum { CMAC_BLOCK = 16 };

struct cmac_key {
  uint8_t key[CMAC_BLOCK];
  uint8_t whole[CMAC_BLOCK];  /* K1, for a last block that is full */
  uint8_t padded[CMAC_BLOCK]; /* K2 */
};

struct cmac_scratch;

struct cmac_scratch *cmac_scratch_create(void);
void cmac_scratch_destroy(struct cmac_scratch *scratch);

/* Derives the subkeys. 0, or -1 if the cryptographic library fails. */
int cmac_prepare(struct cmac_key *out, const uint8_t key[CMAC_BLOCK]);

/* Writes 16 bytes. 0 or -1. */
int cmac_compute(struct cmac_scratch *scratch, const struct cmac_key *key, const struct piece *pieces, size_t count,
                 uint8_t out[CMAC_BLOCK]);

#endif
