#include <netinet/in.h>
#include <string.h>

#include <openssl/rand.h>

#include "ah-key.h"

/* What is put into a packet, and in how many bytes. */
struct insertion {
  uint32_t spi;
  uint32_t sequence;
  size_t icv_length;
  size_t ah_length;
};

static struct insertion plan(const struct ah_key *key, uint32_t spi, const struct ah_walk *w, uint32_t sequence,
                             unsigned packets) {
  return (struct insertion){spi, sequence, ah_icv_length(key->algorithm, packets),
                            ah_length(key->algorithm, w->family, packets)};
}

static enum ah_result check(const struct ah_walk *w, const struct insertion *insertion, size_t room) {
  size_t total = w->length + insertion->ah_length;
  size_t counted = w->family == 4 ? total : total - IPV6_FIXED;
  if (insertion->sequence == 0) return AH_NO_SEQUENCE;
  if (w->next == IPPROTO_AH) return AH_PRESENT;
  return counted > UINT16_MAX || total > room ? AH_TOO_LONG : AH_OK;
}

/* The packet with an AH whose ICV and padding are zero. */
static void write_packet(uint8_t *out, const uint8_t *bytes, const struct ah_walk *w,
                         const struct insertion *insertion, struct ah_place *place) {
  size_t at = w->insert_at, length = insertion->ah_length;
  uint8_t *ah = out + at;
  memcpy(out, bytes, at);
  memset(ah, 0, length);
  memcpy(ah + length, bytes + at, w->length - at);
  ah[0] = bytes[w->insert_next_field];
  ah[1] = (uint8_t)(length / 4 - 2);
  ah_write32(ah + 4, insertion->spi);
  ah_write32(ah + 8, insertion->sequence);
  out[w->insert_next_field] = IPPROTO_AH;
  ah_write_length(out, w->length + length);
  *place = (struct ah_place){
      .family = w->family,
      .next = ah[0],
      .next_field = (uint16_t)w->insert_next_field,
      .at = (uint16_t)at,
      .ah_length = (uint16_t)length,
      .length = (uint32_t)(w->length + length),
      .spi = insertion->spi,
      .sequence = insertion->sequence,
  };
}

/* Lays the packet out and takes what of it is covered. */
static enum ah_result prepare(struct ah_scratch *s, const struct ah_key *key, uint32_t spi,
                              struct ah_outgoing *packet, unsigned packets, struct ah_place *place) {
  struct ah_walk w;
  enum ah_result result = ah_walk_headers(&w, packet->bytes, packet->length);
  if (result != AH_OK) return result;
  struct insertion insertion = plan(key, spi, &w, packet->sequence, packets);
  result = check(&w, &insertion, packet->room);
  if (result != AH_OK) return result;
  write_packet(packet->out, packet->bytes, &w, &insertion, place);
  packet->out_length = place->length;
  return ah_cover(&s->cover, packet->out, place, insertion.icv_length);
}

static enum ah_result insert_one(struct ah_scratch *s, const struct ah_key *key, uint32_t spi,
                                 struct ah_outgoing *packet) {
  struct ah_place place;
  enum ah_result result = prepare(s, key, spi, packet, 1, &place);
  if (result != AH_OK) return result;
  uint8_t *icv = packet->out + place.at + AH_FIXED;
  int done = key->kind == AH_KIND_MAC ? mac_compute(s->mac, key->mac, s->cover.pieces, AH_PIECES, icv)
                                      : signature_sign(s->signature, key->signature, s->cover.pieces, AH_PIECES, icv);
  return done == 0 ? AH_OK : AH_FAILED;
}

enum ah_result ah_insert(struct ah_scratch *s, struct ah_key *key, uint32_t spi, uint32_t sequence,
                         const uint8_t *bytes, size_t length, uint8_t *out, size_t room, size_t *out_length) {
  struct ah_outgoing packet = {.bytes = bytes, .length = length, .sequence = sequence, .out = out, .room = room};
  enum ah_result result = key->kind == AH_KIND_TREE ? ah_insert_batch(s, key, spi, &packet, 1)
                                                    : insert_one(s, key, spi, &packet);
  if (result == AH_OK && key->kind == AH_KIND_TREE) result = packet.result;
  *out_length = result == AH_OK ? packet.out_length : 0;
  return result;
}

/* Where each packet's ICV is, and the tree over those that can take one. Whether there are any. */
static int grow_tree(struct ah_scratch *s, const struct ah_key *key, uint32_t spi, struct ah_outgoing *packets,
                     unsigned count, uint8_t *icvs[AH_BATCH_MAX]) {
  int any = 0;
  for (unsigned i = 0; i < count; i++) {
    struct ah_place place;
    packets[i].result = prepare(s, key, spi, &packets[i], count, &place);
    if (packets[i].result != AH_OK) continue;
    icvs[i] = packets[i].out + place.at + AH_FIXED;
    tree_put_leaf(&s->tree, i, s->cover.pieces, AH_PIECES);
    any = 1;
  }
  tree_finish(&s->tree);
  return any;
}

static int sign_root(struct ah_scratch *s, const struct ah_key *key, uint8_t signature[SIGNATURE_LENGTH_MAX]) {
  uint8_t message[TREE_ROOT_MESSAGE];
  tree_root_message(message, &s->tree.batch, s->tree.nodes[1]);
  struct piece piece = {message, sizeof message};
  return signature_sign(s->signature, key->signature, &piece, 1, signature);
}

static enum ah_result fail(struct ah_outgoing *packets, unsigned count) {
  for (unsigned i = 0; i < count; i++) packets[i].result = AH_FAILED;
  return AH_FAILED;
}

enum ah_result ah_insert_batch(struct ah_scratch *s, struct ah_key *key, uint32_t spi, struct ah_outgoing *packets,
                               unsigned count) {
  uint8_t number[TREE_BATCH], signature[SIGNATURE_LENGTH_MAX], *icvs[AH_BATCH_MAX];
  if (key->kind != AH_KIND_TREE || count < 1 || count > AH_BATCH_MAX) return fail(packets, count);
  if (RAND_bytes(number, sizeof number) != 1) return fail(packets, count);
  tree_begin(&s->tree, spi, number, count);
  if (!grow_tree(s, key, spi, packets, count, icvs)) return AH_OK;
  if (sign_root(s, key, signature) < 0) return fail(packets, count);
  for (unsigned i = 0; i < count; i++)
    if (packets[i].result == AH_OK) tree_field_write(icvs[i], &s->tree, i, signature, key->icv_length);
  return AH_OK;
}
