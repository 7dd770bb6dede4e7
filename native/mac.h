/* Message authentication codes with prepared keys, truncated as in AH (RFC 4868, RFC 2404, RFC 4494). */
#ifndef PBS_MAC_H
#define PBS_MAC_H

#include "piece.h"

enum mac_algorithm { MAC_HMAC_SHA256_128, MAC_HMAC_SHA384_192, MAC_AES_CMAC_96, MAC_HMAC_SHA1_96, MAC_ALGORITHMS };

enum { MAC_LENGTH_MAX = 24 };

/* Never changes once it is made, so any number of threads may use it. */
struct mac_key;

/* Of one thread. */
struct mac_scratch;

size_t mac_key_length(enum mac_algorithm algorithm);

/* Bytes of the code after truncation. */
size_t mac_length(enum mac_algorithm algorithm);

/* NULL with errno: EINVAL if the key has another length than mac_key_length. */
struct mac_key *mac_key_create(enum mac_algorithm algorithm, const uint8_t *key, size_t length);

/* Wipes it. */
void mac_key_destroy(struct mac_key *key);

struct mac_scratch *mac_scratch_create(void);
void mac_scratch_destroy(struct mac_scratch *scratch);

/* Writes mac_length bytes. 0, or -1 if the cryptographic library fails. */
int mac_compute(struct mac_scratch *scratch, const struct mac_key *key, const struct piece *pieces, size_t count,
                uint8_t *out);

#endif
