#define OPENSSL_SUPPRESS_DEPRECATED

#include "tree.h"

#include <string.h>

#include <openssl/sha.h>

enum { KIND_LEAF, KIND_NODE };

unsigned tree_depth(unsigned packets) {
  unsigned depth = 0;
  while (1u << depth < packets) depth++;
  return depth;
}

size_t tree_field_length(size_t signature_length, unsigned packets) {
  return TREE_HEAD + signature_length + (size_t)tree_depth(packets) * TREE_NODE;
}

static size_t write_batch(uint8_t *out, const struct tree_batch *batch) {
  out[0] = (uint8_t)(batch->spi >> 24);
  out[1] = (uint8_t)(batch->spi >> 16);
  out[2] = (uint8_t)(batch->spi >> 8);
  out[3] = (uint8_t)batch->spi;
  memcpy(out + 4, batch->number, TREE_BATCH);
  out[4 + TREE_BATCH] = batch->packets;
  return 4 + TREE_BATCH + 1;
}

static void hash_leaf(uint8_t out[TREE_NODE], const struct tree_batch *batch, unsigned index,
                      const struct piece *pieces, size_t count) {
  uint8_t head[1 + 4 + TREE_BATCH + 1 + 1] = {KIND_LEAF}, digest[SHA256_DIGEST_LENGTH];
  size_t at = 1 + write_batch(head + 1, batch);
  head[at] = (uint8_t)index;
  SHA256_CTX state;
  SHA256_Init(&state);
  SHA256_Update(&state, head, sizeof head);
  for (size_t i = 0; i < count; i++) SHA256_Update(&state, pieces[i].bytes, pieces[i].length);
  SHA256_Final(digest, &state);
  memcpy(out, digest, TREE_NODE);
}

/* `out` may be one of the two. */
static void hash_node(uint8_t out[TREE_NODE], const struct tree_batch *batch, unsigned level, unsigned index,
                      const uint8_t left[TREE_NODE], const uint8_t right[TREE_NODE]) {
  uint8_t bytes[1 + 4 + TREE_BATCH + 1 + 2 + 2 * TREE_NODE] = {KIND_NODE}, digest[SHA256_DIGEST_LENGTH];
  size_t at = 1 + write_batch(bytes + 1, batch);
  bytes[at] = (uint8_t)level;
  bytes[at + 1] = (uint8_t)index;
  memcpy(bytes + at + 2, left, TREE_NODE);
  memcpy(bytes + at + 2 + TREE_NODE, right, TREE_NODE);
  SHA256_CTX state;
  SHA256_Init(&state); /* SHA256() looks the algorithm up each time, which costs more than this block */
  SHA256_Update(&state, bytes, sizeof bytes);
  SHA256_Final(digest, &state);
  memcpy(out, digest, TREE_NODE);
}

int tree_field_read(struct tree_field *out, uint32_t spi, const uint8_t *field, size_t length,
                    size_t signature_length) {
  if (length < TREE_HEAD + signature_length) return 0;
  unsigned packets = field[0];
  if (packets < 1 || packets > TREE_LEAVES_MAX || field[1] >= packets || field[2] != 0 || field[3] != 0) return 0;
  if (length != tree_field_length(signature_length, packets)) return 0;
  out->batch.spi = spi;
  memcpy(out->batch.number, field + 4, TREE_BATCH);
  out->batch.packets = (uint8_t)packets;
  out->index = field[1];
  out->signature = field + TREE_HEAD;
  out->path = out->signature + signature_length;
  return 1;
}

void tree_root_of(uint8_t root[TREE_NODE], const struct tree_field *field, const struct piece *pieces, size_t count) {
  const uint8_t *beside = field->path;
  unsigned index = field->index;
  hash_leaf(root, &field->batch, index, pieces, count);
  for (unsigned level = 1; level <= tree_depth(field->batch.packets); level++) {
    int is_right = index & 1;
    index >>= 1;
    hash_node(root, &field->batch, level, index, is_right ? beside : root, is_right ? root : beside);
    beside += TREE_NODE;
  }
}

void tree_root_message(uint8_t out[TREE_ROOT_MESSAGE], const struct tree_batch *batch, const uint8_t root[TREE_NODE]) {
  memcpy(out, "PBS AH hash tree", TREE_LABEL);
  size_t at = TREE_LABEL + write_batch(out + TREE_LABEL, batch);
  memcpy(out + at, root, TREE_NODE);
}

void tree_begin(struct tree *tree, uint32_t spi, const uint8_t number[TREE_BATCH], unsigned packets) {
  tree->batch.spi = spi;
  memcpy(tree->batch.number, number, TREE_BATCH);
  tree->batch.packets = (uint8_t)packets;
  tree->depth = tree_depth(packets);
  memset(tree->nodes, 0, ((size_t)2 << tree->depth) * TREE_NODE);
}

void tree_put_leaf(struct tree *tree, unsigned index, const struct piece *pieces, size_t count) {
  hash_leaf(tree->nodes[(1u << tree->depth) + index], &tree->batch, index, pieces, count);
}

void tree_finish(struct tree *tree) {
  for (unsigned level = 1; level <= tree->depth; level++) {
    unsigned first = 1u << (tree->depth - level);
    for (unsigned i = 0; i < first; i++) {
      unsigned n = first + i;
      hash_node(tree->nodes[n], &tree->batch, level, i, tree->nodes[2 * n], tree->nodes[2 * n + 1]);
    }
  }
}

void tree_field_write(uint8_t *out, const struct tree *tree, unsigned index, const uint8_t *signature,
                      size_t signature_length) {
  out[0] = tree->batch.packets;
  out[1] = (uint8_t)index;
  out[2] = out[3] = 0;
  memcpy(out + 4, tree->batch.number, TREE_BATCH);
  memcpy(out + TREE_HEAD, signature, signature_length);
  uint8_t *path = out + TREE_HEAD + signature_length;
  for (unsigned n = (1u << tree->depth) + index; n > 1; n >>= 1) {
    memcpy(path, tree->nodes[n ^ 1], TREE_NODE);
    path += TREE_NODE;
  }
}
