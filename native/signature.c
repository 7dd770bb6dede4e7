#define OPENSSL_SUPPRESS_DEPRECATED

#include "signature.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

enum {
  RSA_BITS = 2048,
  RSA_EXPONENT_BITS_MAX = 32, /* a long one would make each verification as dear as the key's owner likes */
  COORDINATE = 32,
  DER_MAX = 80, /* of an ECDSA signature with P-256: 72 */
  MESSAGE_MAX = 1 << 17,
};

/* For RSA and ECDSA a context that is ready, of which each operation takes a copy: to make one costs 2 µs more. */
struct signature_key {
  enum signature_algorithm algorithm;
  EVP_PKEY *pkey;
  EVP_PKEY_CTX *verifier, *signer;
};

struct signature_scratch {
  EVP_MD_CTX *digest;
  uint8_t message[MESSAGE_MAX]; /* Ed25519 takes the message in one piece */
};

size_t signature_length(enum signature_algorithm algorithm) {
  return algorithm == SIGNATURE_RSA_2048 ? RSA_BITS / 8 : 2 * COORDINATE;
}

static int is_rsa_2048(const EVP_PKEY *pkey) {
  BIGNUM *exponent = NULL;
  if (!EVP_PKEY_is_a(pkey, "RSA") || EVP_PKEY_get_bits(pkey) != RSA_BITS) return 0;
  int fine = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
             BN_num_bits(exponent) <= RSA_EXPONENT_BITS_MAX;
  BN_free(exponent);
  return fine;
}

static int is_p256(const EVP_PKEY *pkey) {
  char group[32];
  size_t length;
  return EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof group, &length) == 1 &&
         OBJ_txt2nid(group) == NID_X9_62_prime256v1;
}

static int is_of(const EVP_PKEY *pkey, enum signature_algorithm algorithm) {
  switch (algorithm) {
    case SIGNATURE_RSA_2048:
      return is_rsa_2048(pkey);
    case SIGNATURE_ECDSA_P256:
      return is_p256(pkey);
    default:
      return EVP_PKEY_is_a(pkey, "ED25519");
  }
}

static EVP_PKEY *read_private(const uint8_t **der, size_t length) {
  PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, der, (long)length);
  EVP_PKEY *pkey = info ? EVP_PKCS82PKEY(info) : NULL;
  PKCS8_PRIV_KEY_INFO_free(info);
  return pkey;
}

static EVP_PKEY *read_key(const uint8_t *der, size_t length, int signs) {
  const uint8_t *end = der;
  if (length > INT32_MAX) return NULL;
  EVP_PKEY *pkey = signs ? read_private(&end, length) : d2i_PUBKEY(NULL, &end, (long)length);
  if (pkey && end == der + length) return pkey;
  EVP_PKEY_free(pkey);
  return NULL;
}

static EVP_PKEY_CTX *prepare(EVP_PKEY *pkey, int (*begin)(EVP_PKEY_CTX *)) {
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
  if (context && begin(context) == 1 && EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) == 1) return context;
  EVP_PKEY_CTX_free(context);
  return NULL;
}

static int prepare_contexts(struct signature_key *key, int signs) {
  if (key->algorithm == SIGNATURE_ED25519) return 0;
  key->verifier = prepare(key->pkey, EVP_PKEY_verify_init);
  if (signs) key->signer = prepare(key->pkey, EVP_PKEY_sign_init);
  return key->verifier && (!signs || key->signer) ? 0 : -1;
}

struct signature_key *signature_key_create(enum signature_algorithm algorithm, const uint8_t *der, size_t length,
                                           int signs) {
  struct signature_key *key = calloc(1, sizeof *key);
  if (!key) return NULL;
  key->algorithm = algorithm;
  key->pkey = read_key(der, length, signs);
  if (key->pkey && is_of(key->pkey, algorithm) && prepare_contexts(key, signs) == 0) return key;
  signature_key_destroy(key);
  ERR_clear_error();
  errno = EINVAL;
  return NULL;
}

/* OpenSSL wipes private keys itself. */
void signature_key_destroy(struct signature_key *key) {
  if (!key) return;
  EVP_PKEY_CTX_free(key->verifier);
  EVP_PKEY_CTX_free(key->signer);
  EVP_PKEY_free(key->pkey);
  free(key);
}

struct signature_scratch *signature_scratch_create(void) {
  struct signature_scratch *s = malloc(sizeof *s);
  if (!s) return NULL;
  s->digest = EVP_MD_CTX_new();
  if (s->digest) return s;
  free(s);
  errno = ENOMEM;
  return NULL;
}

void signature_scratch_destroy(struct signature_scratch *s) {
  if (!s) return;
  EVP_MD_CTX_free(s->digest);
  free(s);
}

static void sha256(uint8_t out[SHA256_DIGEST_LENGTH], const struct piece *pieces, size_t count) {
  SHA256_CTX state;
  SHA256_Init(&state);
  for (size_t i = 0; i < count; i++) SHA256_Update(&state, pieces[i].bytes, pieces[i].length);
  SHA256_Final(out, &state);
}

/* 0 if they are longer than there is room. */
static int join(struct signature_scratch *s, const struct piece *pieces, size_t count, size_t *length) {
  *length = 0;
  for (size_t i = 0; i < count; i++) {
    if (pieces[i].length > MESSAGE_MAX - *length) return 0;
    if (pieces[i].length > 0) memcpy(s->message + *length, pieces[i].bytes, pieces[i].length);
    *length += pieces[i].length;
  }
  return 1;
}

/* r and s, each of fixed length, as the two integers of a SEQUENCE (RFC 3279). 0 on failure. */
static size_t pair_to_der(uint8_t der[DER_MAX], const uint8_t *pair) {
  ECDSA_SIG *signature = ECDSA_SIG_new();
  BIGNUM *r = BN_bin2bn(pair, COORDINATE, NULL), *s = BN_bin2bn(pair + COORDINATE, COORDINATE, NULL);
  if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) != 1) {
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(signature);
    return 0;
  }
  uint8_t *end = der;
  int length = i2d_ECDSA_SIG(signature, &end);
  ECDSA_SIG_free(signature);
  return length > 0 ? (size_t)length : 0;
}

static int pair_from_der(uint8_t *pair, const uint8_t *der, size_t length) {
  ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)length);
  int fine = signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), pair, COORDINATE) == COORDINATE &&
             BN_bn2binpad(ECDSA_SIG_get0_s(signature), pair + COORDINATE, COORDINATE) == COORDINATE;
  ECDSA_SIG_free(signature);
  return fine ? 0 : -1;
}

static int sign_hashed(const struct signature_key *key, const struct piece *pieces, size_t count, uint8_t *out) {
  uint8_t digest[SHA256_DIGEST_LENGTH], der[DER_MAX];
  int pair = key->algorithm == SIGNATURE_ECDSA_P256;
  uint8_t *target = pair ? der : out;
  size_t length = pair ? sizeof der : signature_length(key->algorithm);
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_dup(key->signer);
  sha256(digest, pieces, count);
  int signed_ = context && EVP_PKEY_sign(context, target, &length, digest, sizeof digest) == 1;
  EVP_PKEY_CTX_free(context);
  if (!signed_) return -1;
  return pair ? pair_from_der(out, der, length) : 0;
}

static int verify_hashed(const struct signature_key *key, const struct piece *pieces, size_t count,
                         const uint8_t *signature) {
  uint8_t digest[SHA256_DIGEST_LENGTH], der[DER_MAX];
  size_t length = signature_length(key->algorithm);
  if (key->algorithm == SIGNATURE_ECDSA_P256) {
    length = pair_to_der(der, signature);
    if (length == 0) return 0;
    signature = der;
  }
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_dup(key->verifier);
  sha256(digest, pieces, count);
  int verified = context && EVP_PKEY_verify(context, signature, length, digest, sizeof digest) == 1;
  EVP_PKEY_CTX_free(context);
  return verified;
}

static int sign_ed25519(struct signature_scratch *s, const struct signature_key *key, const struct piece *pieces,
                        size_t count, uint8_t *out) {
  size_t length, written = 2 * COORDINATE;
  if (!join(s, pieces, count, &length) || EVP_MD_CTX_reset(s->digest) != 1) return -1;
  return EVP_DigestSignInit(s->digest, NULL, NULL, NULL, key->pkey) == 1 &&
                 EVP_DigestSign(s->digest, out, &written, s->message, length) == 1
             ? 0
             : -1;
}

static int verify_ed25519(struct signature_scratch *s, const struct signature_key *key, const struct piece *pieces,
                          size_t count, const uint8_t *signature) {
  size_t length;
  if (!join(s, pieces, count, &length) || EVP_MD_CTX_reset(s->digest) != 1) return 0;
  return EVP_DigestVerifyInit(s->digest, NULL, NULL, NULL, key->pkey) == 1 &&
         EVP_DigestVerify(s->digest, signature, 2 * COORDINATE, s->message, length) == 1;
}

/* Failed operations leave entries in the thread's error queue, which somebody else would take for his own. */
int signature_sign(struct signature_scratch *s, const struct signature_key *key, const struct piece *pieces,
                   size_t count, uint8_t *out) {
  int result = -1;
  if (key->algorithm == SIGNATURE_ED25519) result = sign_ed25519(s, key, pieces, count, out);
  else if (key->signer) result = sign_hashed(key, pieces, count, out);
  if (result < 0) ERR_clear_error();
  return result;
}

int signature_verify(struct signature_scratch *s, const struct signature_key *key, const struct piece *pieces,
                     size_t count, const uint8_t *signature) {
  int verified = key->algorithm == SIGNATURE_ED25519 ? verify_ed25519(s, key, pieces, count, signature)
                                                     : verify_hashed(key, pieces, count, signature);
  if (!verified) ERR_clear_error();
  return verified;
}
