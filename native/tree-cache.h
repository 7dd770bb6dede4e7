/* Roots of batches whose signature verified, so that it is checked once a batch. Any number of threads. */
#ifndef PBS_TREE_CACHE_H
#define PBS_TREE_CACHE_H

#include <pthread.h>

#include "signature.h"
#include "tree.h"

enum { TREE_CACHE_ROOTS = 16 };

struct tree_cache_root {
  uint8_t message[TREE_ROOT_MESSAGE]; /* all zero: none */
  uint8_t signature[SIGNATURE_LENGTH_MAX];
};

struct tree_cache {
  pthread_mutex_t lock;
  unsigned next; /* the oldest, to be replaced */
  struct tree_cache_root roots[TREE_CACHE_ROOTS];
};

int tree_cache_init(struct tree_cache *cache);
void tree_cache_destroy(struct tree_cache *cache);

enum tree_cached { TREE_UNKNOWN, TREE_VERIFIED, TREE_FORGED };

/* A root that verified with another signature is forged: who signs does so once. */
enum tree_cached tree_cache_find(struct tree_cache *cache, const uint8_t message[TREE_ROOT_MESSAGE],
                                 const uint8_t *signature, size_t signature_length);

void tree_cache_add(struct tree_cache *cache, const uint8_t message[TREE_ROOT_MESSAGE], const uint8_t *signature,
                    size_t signature_length);

#endif
