/*
 * Signatures, of one fixed length for each algorithm: RSA-2048 PKCS#1 v1.5 with SHA-256, ECDSA P-256 with SHA-256 as r and
 * s, Ed25519.
 */
#ifndef PBS_SIGNATURE_H
#define PBS_SIGNATURE_H

#include "piece.h"

enum signature_algorithm { SIGNATURE_RSA_2048, SIGNATURE_ECDSA_P256, SIGNATURE_ED25519, SIGNATURE_ALGORITHMS };

enum { SIGNATURE_LENGTH_MAX = 256 };

/* Never changes once it is made, so any number of threads may use it. */
struct signature_key;

/* Of one thread. */
struct signature_scratch;

size_t signature_length(enum signature_algorithm algorithm);

/*
 * From SubjectPublicKeyInfo in DER, or with `signs` from PKCS#8 in DER. NULL with errno: EINVAL if it is not a key of
 * that algorithm.
 */
struct signature_key *signature_key_create(enum signature_algorithm algorithm, const uint8_t *der, size_t length,
                                           int signs);
void signature_key_destroy(struct signature_key *key);

struct signature_scratch *signature_scratch_create(void);
void signature_scratch_destroy(struct signature_scratch *scratch);

/* Writes signature_length bytes. 0, or -1 if the key is a public one, the pieces are too long, or memory is short. */
int signature_sign(struct signature_scratch *scratch, const struct signature_key *key, const struct piece *pieces,
                   size_t count, uint8_t *out);

/* Whether `signature`, of signature_length bytes, is one of these bytes. */
int signature_verify(struct signature_scratch *scratch, const struct signature_key *key, const struct piece *pieces,
                     size_t count, const uint8_t *signature);

#endif
