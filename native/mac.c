/* A context of the EVP interface allocates when it is copied; the older one is plain memory. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "mac.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "cmac.h"

enum { IPAD = 0x36, OPAD = 0x5c, BLOCK_MAX = SHA512_CBLOCK };

/* The states after the key block, from which each HMAC goes on. */
struct sha256_states {
  SHA256_CTX inner, outer;
};
struct sha512_states {
  SHA512_CTX inner, outer;
};
struct sha1_states {
  SHA_CTX inner, outer;
};

struct mac_key {
  enum mac_algorithm algorithm;
  union {
    struct sha256_states sha256;
    struct sha512_states sha384;
    struct sha1_states sha1;
    struct cmac_key cmac;
  };
};

struct mac_scratch {
  union {
    SHA256_CTX sha256;
    SHA512_CTX sha384;
    SHA_CTX sha1;
  };
  uint8_t digest[SHA512_DIGEST_LENGTH];
  struct cmac_scratch *cmac;
};

static const struct {
  size_t key, code;
} SIZES[MAC_ALGORITHMS] = {
    [MAC_HMAC_SHA256_128] = {32, 16},
    [MAC_HMAC_SHA384_192] = {48, 24},
    [MAC_AES_CMAC_96] = {16, 12},
    [MAC_HMAC_SHA1_96] = {20, 12},
};

size_t mac_key_length(enum mac_algorithm algorithm) { return SIZES[algorithm].key; }

size_t mac_length(enum mac_algorithm algorithm) { return SIZES[algorithm].code; }

/* Keys are never longer than a block here, so that none has to be hashed first (RFC 2104 section 2). */
static void key_block(uint8_t block[BLOCK_MAX], const uint8_t *key, size_t length, uint8_t pad) {
  memset(block, pad, BLOCK_MAX);
  for (size_t i = 0; i < length; i++) block[i] ^= key[i];
}

static void prepare_sha256(struct sha256_states *s, const uint8_t *inner, const uint8_t *outer) {
  SHA256_Init(&s->inner);
  SHA256_Init(&s->outer);
  SHA256_Update(&s->inner, inner, SHA256_CBLOCK);
  SHA256_Update(&s->outer, outer, SHA256_CBLOCK);
}

static void prepare_sha384(struct sha512_states *s, const uint8_t *inner, const uint8_t *outer) {
  SHA384_Init(&s->inner);
  SHA384_Init(&s->outer);
  SHA384_Update(&s->inner, inner, SHA512_CBLOCK);
  SHA384_Update(&s->outer, outer, SHA512_CBLOCK);
}

static void prepare_sha1(struct sha1_states *s, const uint8_t *inner, const uint8_t *outer) {
  SHA1_Init(&s->inner);
  SHA1_Init(&s->outer);
  SHA1_Update(&s->inner, inner, SHA_CBLOCK);
  SHA1_Update(&s->outer, outer, SHA_CBLOCK);
}

static int prepare(struct mac_key *out, const uint8_t *key, size_t length) {
  uint8_t inner[BLOCK_MAX], outer[BLOCK_MAX];
  int result = 0;
  key_block(inner, key, length, IPAD);
  key_block(outer, key, length, OPAD);
  switch (out->algorithm) {
    case MAC_HMAC_SHA256_128:
      prepare_sha256(&out->sha256, inner, outer);
      break;
    case MAC_HMAC_SHA384_192:
      prepare_sha384(&out->sha384, inner, outer);
      break;
    case MAC_HMAC_SHA1_96:
      prepare_sha1(&out->sha1, inner, outer);
      break;
    default:
      result = cmac_prepare(&out->cmac, key);
  }
  OPENSSL_cleanse(inner, sizeof inner);
  OPENSSL_cleanse(outer, sizeof outer);
  return result;
}

struct mac_key *mac_key_create(enum mac_algorithm algorithm, const uint8_t *key, size_t length) {
  if (length != mac_key_length(algorithm)) {
    errno = EINVAL;
    return NULL;
  }
  struct mac_key *out = calloc(1, sizeof *out);
  if (!out) return NULL;
  out->algorithm = algorithm;
  if (prepare(out, key, length) == 0) return out;
  mac_key_destroy(out);
  errno = ENOMEM;
  return NULL;
}

void mac_key_destroy(struct mac_key *key) {
  if (!key) return;
  OPENSSL_cleanse(key, sizeof *key);
  free(key);
}

struct mac_scratch *mac_scratch_create(void) {
  struct mac_scratch *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->cmac = cmac_scratch_create();
  if (s->cmac) return s;
  free(s);
  return NULL;
}

void mac_scratch_destroy(struct mac_scratch *s) {
  if (!s) return;
  cmac_scratch_destroy(s->cmac);
  OPENSSL_cleanse(s, sizeof *s);
  free(s);
}

static void hmac_sha256(struct mac_scratch *s, const struct sha256_states *key, const struct piece *pieces,
                        size_t count) {
  s->sha256 = key->inner;
  for (size_t i = 0; i < count; i++) SHA256_Update(&s->sha256, pieces[i].bytes, pieces[i].length);
  SHA256_Final(s->digest, &s->sha256);
  s->sha256 = key->outer;
  SHA256_Update(&s->sha256, s->digest, SHA256_DIGEST_LENGTH);
  SHA256_Final(s->digest, &s->sha256);
}

static void hmac_sha384(struct mac_scratch *s, const struct sha512_states *key, const struct piece *pieces,
                        size_t count) {
  s->sha384 = key->inner;
  for (size_t i = 0; i < count; i++) SHA384_Update(&s->sha384, pieces[i].bytes, pieces[i].length);
  SHA384_Final(s->digest, &s->sha384);
  s->sha384 = key->outer;
  SHA384_Update(&s->sha384, s->digest, SHA384_DIGEST_LENGTH);
  SHA384_Final(s->digest, &s->sha384);
}

static void hmac_sha1(struct mac_scratch *s, const struct sha1_states *key, const struct piece *pieces,
                      size_t count) {
  s->sha1 = key->inner;
  for (size_t i = 0; i < count; i++) SHA1_Update(&s->sha1, pieces[i].bytes, pieces[i].length);
  SHA1_Final(s->digest, &s->sha1);
  s->sha1 = key->outer;
  SHA1_Update(&s->sha1, s->digest, SHA_DIGEST_LENGTH);
  SHA1_Final(s->digest, &s->sha1);
}

int mac_compute(struct mac_scratch *s, const struct mac_key *key, const struct piece *pieces, size_t count,
                uint8_t *out) {
  int result = 0;
  switch (key->algorithm) {
    case MAC_HMAC_SHA256_128:
      hmac_sha256(s, &key->sha256, pieces, count);
      break;
    case MAC_HMAC_SHA384_192:
      hmac_sha384(s, &key->sha384, pieces, count);
      break;
    case MAC_HMAC_SHA1_96:
      hmac_sha1(s, &key->sha1, pieces, count);
      break;
    default:
      result = cmac_compute(s->cmac, &key->cmac, pieces, count, s->digest);
  }
  memcpy(out, s->digest, mac_length(key->algorithm));
  return result;
}
