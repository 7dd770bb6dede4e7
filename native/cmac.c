#include "cmac.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

enum { CHUNK = 1024 };

/* CBC with a zero start is what CMAC does to all blocks but the last, and OpenSSL's uses the processor's AES. */
struct cmac_scratch {
  EVP_CIPHER *cipher;
  EVP_CIPHER_CTX *cbc;
  uint8_t last[CMAC_BLOCK]; /* held back, since the last block is treated apart */
  size_t held;
  uint8_t out[CHUNK]; /* of which only the last block counts */
};

struct cmac_scratch *cmac_scratch_create(void) {
  static const uint8_t zero[CMAC_BLOCK];
  struct cmac_scratch *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->cipher = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
  s->cbc = EVP_CIPHER_CTX_new();
  if (s->cipher && s->cbc && EVP_EncryptInit_ex2(s->cbc, s->cipher, zero, zero, NULL) == 1 &&
      EVP_CIPHER_CTX_set_padding(s->cbc, 0) == 1)
    return s;
  cmac_scratch_destroy(s);
  errno = ENOMEM;
  return NULL;
}

void cmac_scratch_destroy(struct cmac_scratch *s) {
  if (!s) return;
  EVP_CIPHER_CTX_free(s->cbc);
  EVP_CIPHER_free(s->cipher);
  OPENSSL_cleanse(s, sizeof *s);
  free(s);
}

/* Twice the value, in the field of 2^128 elements. */
static void twice(uint8_t out[CMAC_BLOCK], const uint8_t in[CMAC_BLOCK]) {
  uint8_t reduce = (uint8_t)(0x87 & -(in[0] >> 7));
  for (int i = 0; i < CMAC_BLOCK - 1; i++) out[i] = (uint8_t)(in[i] << 1 | in[i + 1] >> 7);
  out[CMAC_BLOCK - 1] = (uint8_t)(in[CMAC_BLOCK - 1] << 1) ^ reduce;
}

static int start(struct cmac_scratch *s, const uint8_t key[CMAC_BLOCK]) {
  static const uint8_t zero[CMAC_BLOCK];
  s->held = 0;
  return EVP_EncryptInit_ex2(s->cbc, NULL, key, zero, NULL) == 1 ? 0 : -1;
}

/* `length` is a multiple of the block, and at most CHUNK. */
static int encrypt(struct cmac_scratch *s, const uint8_t *bytes, size_t length) {
  int written = 0;
  return EVP_EncryptUpdate(s->cbc, s->out, &written, bytes, (int)length) == 1 && (size_t)written == length ? 0 : -1;
}

static int encrypt_all(struct cmac_scratch *s, const uint8_t *bytes, size_t length) {
  for (size_t done = 0; done < length;) {
    size_t part = length - done < CHUNK ? length - done : CHUNK;
    if (encrypt(s, bytes + done, part) < 0) return -1;
    done += part;
  }
  return 0;
}

static void hold(struct cmac_scratch *s, const uint8_t *bytes, size_t length) {
  if (length > 0) memcpy(s->last + s->held, bytes, length);
  s->held += length;
}

static int update(struct cmac_scratch *s, struct piece piece) {
  size_t fits = CMAC_BLOCK - s->held;
  if (piece.length <= fits) {
    hold(s, piece.bytes, piece.length);
    return 0;
  }
  hold(s, piece.bytes, fits);
  if (encrypt(s, s->last, CMAC_BLOCK) < 0) return -1;
  s->held = 0;
  const uint8_t *rest = piece.bytes + fits;
  size_t length = piece.length - fits, whole = (length - 1) / CMAC_BLOCK * CMAC_BLOCK;
  if (encrypt_all(s, rest, whole) < 0) return -1;
  hold(s, rest + whole, length - whole);
  return 0;
}

static int finish(struct cmac_scratch *s, const struct cmac_key *key, uint8_t out[CMAC_BLOCK]) {
  const uint8_t *subkey = key->whole;
  if (s->held < CMAC_BLOCK) {
    s->last[s->held] = 0x80;
    memset(s->last + s->held + 1, 0, CMAC_BLOCK - s->held - 1);
    subkey = key->padded;
  }
  for (int i = 0; i < CMAC_BLOCK; i++) s->last[i] ^= subkey[i];
  if (encrypt(s, s->last, CMAC_BLOCK) < 0) return -1;
  memcpy(out, s->out, CMAC_BLOCK);
  return 0;
}

int cmac_prepare(struct cmac_key *out, const uint8_t key[CMAC_BLOCK]) {
  static const uint8_t zero[CMAC_BLOCK];
  struct cmac_scratch *s = cmac_scratch_create();
  int failed = !s || start(s, key) < 0 || encrypt(s, zero, CMAC_BLOCK) < 0;
  if (!failed) {
    memcpy(out->key, key, CMAC_BLOCK);
    twice(out->whole, s->out);
    twice(out->padded, out->whole);
  }
  cmac_scratch_destroy(s);
  return failed ? -1 : 0;
}

int cmac_compute(struct cmac_scratch *s, const struct cmac_key *key, const struct piece *pieces, size_t count,
                 uint8_t out[CMAC_BLOCK]) {
  if (start(s, key->key) < 0) return -1;
  for (size_t i = 0; i < count; i++)
    if (update(s, pieces[i]) < 0) return -1;
  return finish(s, key, out);
}
