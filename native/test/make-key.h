/* Key pairs for the tests, as DER. */
#ifndef PBS_MAKE_KEY_H
#define PBS_MAKE_KEY_H

#include <stdint.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

struct key_pair {
  uint8_t public_der[1024], private_der[2048];
  size_t public_length, private_length;
};

/* Takes the key over. 0 or -1. */
static inline int export_key(struct key_pair *out, EVP_PKEY *pkey) {
  PKCS8_PRIV_KEY_INFO *info = pkey ? EVP_PKEY2PKCS8(pkey) : NULL;
  uint8_t *public_end = out->public_der, *private_end = out->private_der;
  int made = info && i2d_PUBKEY(pkey, NULL) <= (int)sizeof out->public_der &&
             i2d_PKCS8_PRIV_KEY_INFO(info, NULL) <= (int)sizeof out->private_der;
  out->public_length = made ? (size_t)i2d_PUBKEY(pkey, &public_end) : 0;
  out->private_length = made ? (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &private_end) : 0;
  PKCS8_PRIV_KEY_INFO_free(info);
  EVP_PKEY_free(pkey);
  return made ? 0 : -1;
}

/* "RSA" with `size` bits, "EC" with the curve `name`, or "ED25519". 0 or -1. */
static inline int make_key(struct key_pair *out, const char *type, size_t size, const char *name) {
  if (strcmp(type, "RSA") == 0) return export_key(out, EVP_PKEY_Q_keygen(NULL, NULL, type, size));
  if (strcmp(type, "EC") == 0) return export_key(out, EVP_PKEY_Q_keygen(NULL, NULL, type, name));
  return export_key(out, EVP_PKEY_Q_keygen(NULL, NULL, type));
}

/* RSA-2048 whose public exponent has 65 bits, which takes long to verify with. */
static inline int make_slow_key(struct key_pair *out) {
  EVP_PKEY *pkey = NULL;
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
  BIGNUM *exponent = NULL;
  int ready = BN_hex2bn(&exponent, "10000000000000001") > 0 && EVP_PKEY_keygen_init(context) == 1 &&
              EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048) == 1 &&
              EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, exponent) == 1 && EVP_PKEY_generate(context, &pkey) == 1;
  BN_free(exponent);
  EVP_PKEY_CTX_free(context);
  return ready ? export_key(out, pkey) : -1;
}

#endif
