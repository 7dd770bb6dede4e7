#include <openssl/crypto.h>

#include "ah-key.h"

/* The least padding, or as much as makes the header a multiple of 8 bytes also in IPv4, which Linux does. */
static int length_fits(const struct ah_key *key, const struct ah_place *place) {
  if (key->kind == AH_KIND_TREE) return 1;
  return place->ah_length == ah_length(key->algorithm, place->family, 1) ||
         place->ah_length == ah_length(key->algorithm, 6, 1);
}

static enum ah_result verify_mac(struct ah_scratch *s, const struct ah_key *key, const uint8_t *bytes,
                                 const struct ah_place *place) {
  uint8_t icv[MAC_LENGTH_MAX];
  enum ah_result result = ah_cover(&s->cover, bytes, place, key->icv_length);
  if (result != AH_OK) return result;
  if (mac_compute(s->mac, key->mac, s->cover.pieces, AH_PIECES, icv) < 0) return AH_BAD_ICV;
  return CRYPTO_memcmp(icv, bytes + place->at + AH_FIXED, key->icv_length) == 0 ? AH_OK : AH_BAD_ICV;
}

static enum ah_result look_at(struct ah_scratch *s, const struct ah_key *key, const struct piece *pieces,
                              size_t count, const uint8_t *signature, struct ah_effort *effort) {
  if (signature_verify(s->signature, key->signature, pieces, count, signature)) return AH_OK;
  effort->wasted = 1;
  return AH_BAD_ICV;
}

static enum ah_result verify_signature(struct ah_scratch *s, const struct ah_key *key, const uint8_t *bytes,
                                       const struct ah_place *place, struct ah_effort *effort) {
  if (!effort->allowed) return AH_BUSY;
  enum ah_result result = ah_cover(&s->cover, bytes, place, key->icv_length);
  if (result != AH_OK) return result;
  const uint8_t *signature = bytes + place->at + AH_FIXED;
  return look_at(s, key, s->cover.pieces, AH_PIECES, signature, effort);
}

static enum ah_result verify_root(struct ah_scratch *s, struct ah_key *key, const struct tree_field *field,
                                  const uint8_t root[TREE_NODE], struct ah_effort *effort) {
  uint8_t message[TREE_ROOT_MESSAGE];
  tree_root_message(message, &field->batch, root);
  switch (tree_cache_find(key->roots, message, field->signature, key->icv_length)) {
    case TREE_VERIFIED:
      return AH_OK;
    case TREE_FORGED:
      return AH_BAD_ICV;
    default:
      break;
  }
  struct piece piece = {message, sizeof message};
  if (!effort->allowed) return AH_BUSY;
  enum ah_result result = look_at(s, key, &piece, 1, field->signature, effort);
  if (result == AH_OK) tree_cache_add(key->roots, message, field->signature, key->icv_length);
  return result;
}

static enum ah_result verify_tree(struct ah_scratch *s, struct ah_key *key, const uint8_t *bytes,
                                  const struct ah_place *place, struct ah_effort *effort) {
  struct tree_field field;
  uint8_t root[TREE_NODE];
  size_t length = (size_t)place->ah_length - AH_FIXED;
  if (!tree_field_read(&field, place->spi, bytes + place->at + AH_FIXED, length, key->icv_length)) return AH_BAD_ICV;
  enum ah_result result = ah_cover(&s->cover, bytes, place, length);
  if (result != AH_OK) return result;
  tree_root_of(root, &field, s->cover.pieces, AH_PIECES);
  return verify_root(s, key, &field, root, effort);
}

static enum ah_result verify_icv(struct ah_scratch *s, struct ah_key *key, const uint8_t *bytes,
                                 const struct ah_place *place, struct ah_effort *effort) {
  if (!length_fits(key, place)) return AH_BAD_ICV;
  switch (key->kind) {
    case AH_KIND_MAC:
      return verify_mac(s, key, bytes, place);
    case AH_KIND_SIGNATURE:
      return verify_signature(s, key, bytes, place, effort);
    default:
      return verify_tree(s, key, bytes, place, effort);
  }
}

enum ah_result ah_verify_within(struct ah_scratch *s, struct ah_key *key, struct ah_window *window,
                                const uint8_t *bytes, const struct ah_place *place, struct ah_effort *effort) {
  if (window && !ah_window_check(window, place->sequence)) return AH_REPLAYED;
  enum ah_result result = verify_icv(s, key, bytes, place, effort);
  if (result != AH_OK || !window) return result;
  return ah_window_accept(window, place->sequence) ? AH_OK : AH_REPLAYED;
}

enum ah_result ah_verify(struct ah_scratch *s, struct ah_key *key, struct ah_window *window, const uint8_t *bytes,
                         const struct ah_place *place) {
  struct ah_effort effort = {.allowed = 1};
  return ah_verify_within(s, key, window, bytes, place, &effort);
}
