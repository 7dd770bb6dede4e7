#include "tree-cache.h"

#include <string.h>

int tree_cache_init(struct tree_cache *cache) {
  memset(cache, 0, sizeof *cache);
  return pthread_mutex_init(&cache->lock, NULL) == 0 ? 0 : -1;
}

void tree_cache_destroy(struct tree_cache *cache) { pthread_mutex_destroy(&cache->lock); }

static const struct tree_cache_root *look(const struct tree_cache *cache, const uint8_t *message) {
  for (unsigned i = 0; i < TREE_CACHE_ROOTS; i++)
    if (memcmp(cache->roots[i].message, message, TREE_ROOT_MESSAGE) == 0) return &cache->roots[i];
  return NULL;
}

enum tree_cached tree_cache_find(struct tree_cache *cache, const uint8_t message[TREE_ROOT_MESSAGE],
                                 const uint8_t *signature, size_t signature_length) {
  enum tree_cached found = TREE_UNKNOWN;
  pthread_mutex_lock(&cache->lock);
  const struct tree_cache_root *root = look(cache, message);
  if (root) found = memcmp(root->signature, signature, signature_length) == 0 ? TREE_VERIFIED : TREE_FORGED;
  pthread_mutex_unlock(&cache->lock);
  return found;
}

/* Two threads may have verified one root at the same time. */
void tree_cache_add(struct tree_cache *cache, const uint8_t message[TREE_ROOT_MESSAGE], const uint8_t *signature,
                    size_t signature_length) {
  pthread_mutex_lock(&cache->lock);
  if (!look(cache, message)) {
    struct tree_cache_root *root = &cache->roots[cache->next];
    cache->next = (cache->next + 1) % TREE_CACHE_ROOTS;
    memcpy(root->message, message, TREE_ROOT_MESSAGE);
    memcpy(root->signature, signature, signature_length);
  }
  pthread_mutex_unlock(&cache->lock);
}
