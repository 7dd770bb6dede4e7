/*
 * One signature for a batch of packets: each packet is a leaf of a binary hash tree whose root is signed, and carries
 * the nodes beside its way to the root, so that it verifies alone (Merkle 1979; RFC 4302 has the field it stands in).
 *
 * Nodes are the first 16 bytes of SHA-256 over
 *   a leaf   0 | SPI 4 | batch 8 | packets 1 | index 1 | what AH covers of the packet
 *   a node   1 | SPI 4 | batch 8 | packets 1 | level 1 | index 1 | left node 16 | right node 16
 * where leaves are level 0 and those that no packet has, up to the next power of two, are zero. Signed is
 *   "PBS AH hash tree" | SPI 4 | batch 8 | packets 1 | root 16
 * The batch number is random: who could choose packets to be signed would have to know it to look for two that
 * collide. So 16 bytes are as strong against forgery as the signatures are.
 *
 * In the packet:  packets 1 | index 1 | zero 2 | batch 8 | signature | path: 16 bytes for each level, leaves first
 */
#ifndef PBS_TREE_H
#define PBS_TREE_H

#include "piece.h"

enum {
  TREE_DEPTH_MAX = 6,
  TREE_LEAVES_MAX = 1 << TREE_DEPTH_MAX,
  TREE_NODE = 16,
  TREE_BATCH = 8,
  TREE_LABEL = 16,
  TREE_HEAD = 4 + TREE_BATCH,
  TREE_ROOT_MESSAGE = TREE_LABEL + 4 + TREE_BATCH + 1 + TREE_NODE,
};

/* What all hashes of a batch are bound to. */
struct tree_batch {
  uint32_t spi;
  uint8_t number[TREE_BATCH];
  uint8_t packets; /* 1 to TREE_LEAVES_MAX */
};

struct tree {
  struct tree_batch batch;
  unsigned depth;
  uint8_t nodes[2 * TREE_LEAVES_MAX][TREE_NODE]; /* root at 1, children of n at 2n and 2n+1 */
};

/* A field as it stands in a packet. */
struct tree_field {
  struct tree_batch batch;
  uint8_t index;
  const uint8_t *signature;
  const uint8_t *path;
};

/* Levels of nodes below the root. */
unsigned tree_depth(unsigned packets);

/* Bytes of the field. */
size_t tree_field_length(size_t signature_length, unsigned packets);

/* 0 if it is none, or has not the length that it must have. */
int tree_field_read(struct tree_field *out, uint32_t spi, const uint8_t *field, size_t length,
                    size_t signature_length);

/* The root to which a packet's field leads. */
void tree_root_of(uint8_t root[TREE_NODE], const struct tree_field *field, const struct piece *pieces, size_t count);

void tree_root_message(uint8_t out[TREE_ROOT_MESSAGE], const struct tree_batch *batch, const uint8_t root[TREE_NODE]);

/* An empty tree; then a leaf for each packet; then the rest, with the root in `nodes[1]`. */
void tree_begin(struct tree *tree, uint32_t spi, const uint8_t number[TREE_BATCH], unsigned packets);
void tree_put_leaf(struct tree *tree, unsigned index, const struct piece *pieces, size_t count);
void tree_finish(struct tree *tree);

/* Writes a packet's field. */
void tree_field_write(uint8_t *out, const struct tree *tree, unsigned index, const uint8_t *signature,
                      size_t signature_length);

#endif
