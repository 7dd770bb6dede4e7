#include "ah-key.h"

#include <errno.h>
#include <stdlib.h>

_Static_assert((int)AH_BATCH_MAX == (int)TREE_LEAVES_MAX, "a batch fills a tree");
_Static_assert(AH_LENGTH_MAX == AH_FIXED + TREE_HEAD + SIGNATURE_LENGTH_MAX + TREE_DEPTH_MAX * TREE_NODE,
               "no AH is longer than that of a full batch with RSA");

static const struct {
  enum ah_kind kind;
  enum mac_algorithm mac;
  enum signature_algorithm signature;
} ALGORITHMS[AH_ALGORITHMS] = {
    [AH_HMAC_SHA256_128] = {.kind = AH_KIND_MAC, .mac = MAC_HMAC_SHA256_128},
    [AH_HMAC_SHA384_192] = {.kind = AH_KIND_MAC, .mac = MAC_HMAC_SHA384_192},
    [AH_AES_CMAC_96] = {.kind = AH_KIND_MAC, .mac = MAC_AES_CMAC_96},
    [AH_HMAC_SHA1_96] = {.kind = AH_KIND_MAC, .mac = MAC_HMAC_SHA1_96},
    [AH_RSA_2048] = {.kind = AH_KIND_SIGNATURE, .signature = SIGNATURE_RSA_2048},
    [AH_ECDSA_P256] = {.kind = AH_KIND_SIGNATURE, .signature = SIGNATURE_ECDSA_P256},
    [AH_ED25519] = {.kind = AH_KIND_SIGNATURE, .signature = SIGNATURE_ED25519},
    [AH_TREE_RSA_2048] = {.kind = AH_KIND_TREE, .signature = SIGNATURE_RSA_2048},
    [AH_TREE_ECDSA_P256] = {.kind = AH_KIND_TREE, .signature = SIGNATURE_ECDSA_P256},
    [AH_TREE_ED25519] = {.kind = AH_KIND_TREE, .signature = SIGNATURE_ED25519},
};

enum ah_kind ah_kind_of(enum ah_algorithm algorithm) { return ALGORITHMS[algorithm].kind; }

int ah_is_tree(enum ah_algorithm algorithm) { return ah_kind_of(algorithm) == AH_KIND_TREE; }

size_t ah_icv_length(enum ah_algorithm algorithm, unsigned packets) {
  size_t signature = signature_length(ALGORITHMS[algorithm].signature);
  switch (ah_kind_of(algorithm)) {
    case AH_KIND_MAC:
      return mac_length(ALGORITHMS[algorithm].mac);
    case AH_KIND_SIGNATURE:
      return signature;
    default:
      return tree_field_length(signature, packets);
  }
}

size_t ah_length(enum ah_algorithm algorithm, int family, unsigned packets) {
  size_t unit = family == 4 ? 4 : 8;
  return (AH_FIXED + ah_icv_length(algorithm, packets) + unit - 1) / unit * unit;
}

size_t ah_length_max(enum ah_algorithm algorithm, int family) { return ah_length(algorithm, family, AH_BATCH_MAX); }

static int fill_roots(struct ah_key *key) {
  key->roots = malloc(sizeof *key->roots);
  if (!key->roots || tree_cache_init(key->roots) == 0) return key->roots ? 0 : -1;
  free(key->roots);
  key->roots = NULL;
  return -1;
}

static int fill(struct ah_key *key, const uint8_t *bytes, size_t length, int signs) {
  if (key->kind == AH_KIND_MAC) {
    key->mac = mac_key_create(ALGORITHMS[key->algorithm].mac, bytes, length);
    return key->mac ? 0 : -1;
  }
  key->signature = signature_key_create(ALGORITHMS[key->algorithm].signature, bytes, length, signs);
  if (!key->signature) return -1;
  return key->kind == AH_KIND_TREE ? fill_roots(key) : 0;
}

struct ah_key *ah_key_create(enum ah_algorithm algorithm, const uint8_t *bytes, size_t length, int signs) {
  if ((unsigned)algorithm >= AH_ALGORITHMS) {
    errno = EINVAL;
    return NULL;
  }
  struct ah_key *key = calloc(1, sizeof *key);
  if (!key) return NULL;
  key->algorithm = algorithm;
  key->kind = ah_kind_of(algorithm);
  key->icv_length = key->kind == AH_KIND_MAC ? mac_length(ALGORITHMS[algorithm].mac)
                                             : signature_length(ALGORITHMS[algorithm].signature);
  if (fill(key, bytes, length, signs) == 0) return key;
  int why = errno;
  ah_key_destroy(key);
  errno = why;
  return NULL;
}

void ah_key_destroy(struct ah_key *key) {
  if (!key) return;
  mac_key_destroy(key->mac);
  signature_key_destroy(key->signature);
  if (key->roots) tree_cache_destroy(key->roots);
  free(key->roots);
  free(key);
}

struct ah_scratch *ah_scratch_create(void) {
  struct ah_scratch *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->mac = mac_scratch_create();
  s->signature = signature_scratch_create();
  if (s->mac && s->signature) return s;
  ah_scratch_destroy(s);
  errno = ENOMEM;
  return NULL;
}

void ah_scratch_destroy(struct ah_scratch *s) {
  if (!s) return;
  mac_scratch_destroy(s->mac);
  signature_scratch_destroy(s->signature);
  free(s);
}
