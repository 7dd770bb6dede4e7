/* Batches under one signature: hash trees, and AH that carries them. */
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "../ah-key.h"
#include "build-packet.h"
#include "check.h"
#include "make-key.h"

enum { SPI = 0x4321, ROOM = 2048, THREADS = 2, BATCHES = 40 };

static struct ah_scratch *scratch;
static struct key_pair pair, other;
static struct built plain[AH_BATCH_MAX];
static uint8_t out[AH_BATCH_MAX][ROOM];
static struct ah_outgoing packets[AH_BATCH_MAX];

static struct ah_key *signer(void) { return ah_key_create(AH_TREE_ED25519, pair.private_der, pair.private_length, 1); }

static struct ah_key *verifier(void) { return ah_key_create(AH_TREE_ED25519, pair.public_der, pair.public_length, 0); }

static void fill(unsigned count, uint32_t first, int family) {
  for (unsigned i = 0; i < count; i++) {
    if (family == 4) begin4(&plain[i], IPPROTO_UDP, 0);
    else begin6(&plain[i], IPPROTO_UDP);
    put_udp(&plain[i], 1 + i * 3);
    finish(&plain[i]);
    plain[i].bytes[plain[i].length - 1] = (uint8_t)i;
    packets[i] = (struct ah_outgoing){plain[i].bytes, plain[i].length, first + i, out[i], ROOM, 0, AH_FAILED};
  }
}

static enum ah_result verify(struct ah_scratch *s, struct ah_key *key, struct ah_window *window, const uint8_t *bytes,
                             size_t length) {
  struct ah_place place;
  enum ah_result result = ah_find(&place, bytes, length);
  return result == AH_OK ? ah_verify(s, key, window, bytes, &place) : result;
}

static enum ah_result verify_one(struct ah_key *key, unsigned i) {
  return verify(scratch, key, NULL, out[i], packets[i].out_length);
}

static void test_sizes(void) {
  struct ah_key *mine = signer();
  for (unsigned count = 1; count <= AH_BATCH_MAX; count++) {
    int family = count % 2 ? 4 : 6;
    struct ah_key *theirs = verifier();
    fill(count, count * 100, family);
    CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, count), AH_OK);
    for (unsigned i = count; i-- > 0;) {
      CHECK_EQUAL(packets[i].result, AH_OK);
      CHECK_EQUAL(packets[i].out_length, plain[i].length + ah_length(AH_TREE_ED25519, family, count));
      CHECK_EQUAL(verify_one(theirs, i), AH_OK);
    }
    ah_key_destroy(theirs);
  }
  ah_key_destroy(mine);
}

/* Each packet alone with a key that has seen none of the others. */
static void test_alone(void) {
  struct ah_key *mine = signer();
  fill(13, 1, 4);
  CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, 13), AH_OK);
  for (unsigned i = 0; i < 13; i++) {
    struct ah_key *theirs = verifier();
    CHECK_EQUAL(verify_one(theirs, i), AH_OK);
    ah_key_destroy(theirs);
  }
  ah_key_destroy(mine);
}

/* Every byte from AH on, with the root known and unknown; what is not altered still verifies. */
static void test_altered(void) {
  struct ah_key *mine = signer(), *warm = verifier(), *cold = verifier();
  fill(6, 1, 6);
  CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, 6), AH_OK);
  CHECK_EQUAL(verify_one(warm, 3), AH_OK);
  for (size_t at = 40; at < packets[3].out_length; at++) {
    out[3][at] ^= (uint8_t)(1 << (at % 8));
    CHECK(verify_one(warm, 3) != AH_OK);
    CHECK(verify_one(cold, 3) != AH_OK);
    out[3][at] ^= (uint8_t)(1 << (at % 8));
  }
  CHECK_EQUAL(verify_one(cold, 3), AH_OK);
  ah_key_destroy(mine);
  ah_key_destroy(warm);
  ah_key_destroy(cold);
}

/* The field of one packet on another of the batch. */
static void test_swapped(void) {
  struct ah_key *mine = signer(), *theirs = verifier();
  size_t icv = 20 + AH_FIXED, length = ah_icv_length(AH_TREE_ED25519, 4);
  fill(4, 1, 4);
  CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, 4), AH_OK);
  CHECK_EQUAL(verify_one(theirs, 1), AH_OK);
  memcpy(out[0] + icv, out[1] + icv, length);
  CHECK_EQUAL(verify_one(theirs, 0), AH_BAD_ICV);
  for (int index = 0; index < 256; index++) {
    out[2][icv + 1] = (uint8_t)index;
    CHECK_EQUAL(verify_one(theirs, 2), index == 2 ? AH_OK : AH_BAD_ICV);
  }
  ah_key_destroy(mine);
  ah_key_destroy(theirs);
}

static void test_foreign_key(void) {
  struct ah_key *mine = signer();
  struct ah_key *theirs = ah_key_create(AH_TREE_ED25519, other.public_der, other.public_length, 0);
  fill(4, 1, 4);
  CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, 4), AH_OK);
  for (unsigned i = 0; i < 4; i++) CHECK_EQUAL(verify_one(theirs, i), AH_BAD_ICV);
  ah_key_destroy(mine);
  ah_key_destroy(theirs);
}

/* Some that cannot take AH do not spoil the others. */
static void test_left_out(void) {
  struct ah_key *mine = signer(), *theirs = verifier();
  fill(5, 1, 4);
  packets[0].sequence = 0;
  packets[2].room = 100;
  plain[4].bytes[6] = 0x20;
  CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, 5), AH_OK);
  CHECK_EQUAL(packets[0].result, AH_NO_SEQUENCE);
  CHECK_EQUAL(packets[2].result, AH_TOO_LONG);
  CHECK_EQUAL(packets[4].result, AH_FRAGMENT);
  CHECK_EQUAL(verify_one(theirs, 1), AH_OK);
  CHECK_EQUAL(verify_one(theirs, 3), AH_OK);
  fill(1, 0, 4);
  CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, 1), AH_OK);
  CHECK_EQUAL(packets[0].result, AH_NO_SEQUENCE);
  ah_key_destroy(mine);
  ah_key_destroy(theirs);
}

static void test_not_a_batch(void) {
  struct ah_key *mine = signer(), *theirs = verifier();
  struct ah_key *plain_key = ah_key_create(AH_ED25519, pair.private_der, pair.private_length, 1);
  fill(2, 1, 4);
  CHECK_EQUAL(ah_insert_batch(scratch, plain_key, SPI, packets, 2), AH_FAILED);
  CHECK_EQUAL(ah_insert_batch(scratch, theirs, SPI, packets, 2), AH_FAILED);
  CHECK_EQUAL(packets[1].result, AH_FAILED);
  CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, 0), AH_FAILED);
  ah_key_destroy(mine);
  ah_key_destroy(theirs);
  ah_key_destroy(plain_key);
}

static void test_cache(void) {
  static struct tree_cache cache;
  uint8_t message[TREE_ROOT_MESSAGE] = {1}, signature[SIGNATURE_LENGTH_MAX] = {7};
  CHECK_EQUAL(tree_cache_init(&cache), 0);
  CHECK_EQUAL(tree_cache_find(&cache, message, signature, 64), TREE_UNKNOWN);
  tree_cache_add(&cache, message, signature, 64);
  CHECK_EQUAL(tree_cache_find(&cache, message, signature, 64), TREE_VERIFIED);
  signature[63] = 1;
  CHECK_EQUAL(tree_cache_find(&cache, message, signature, 64), TREE_FORGED);
  for (int i = 2; i < 2 + TREE_CACHE_ROOTS; i++) {
    message[0] = (uint8_t)i;
    tree_cache_add(&cache, message, signature, 64);
  }
  message[0] = 1;
  CHECK_EQUAL(tree_cache_find(&cache, message, signature, 64), TREE_UNKNOWN);
  message[0] = 2;
  CHECK_EQUAL(tree_cache_find(&cache, message, signature, 64), TREE_VERIFIED);
  tree_cache_destroy(&cache);
}

/* Two threads verify the same packets with one key and one window: each packet is accepted once. */
static struct ah_key *shared_key;
static struct ah_window shared_window;
static _Atomic int accepted;
static pthread_barrier_t barrier;

static void *verify_all(void *argument) {
  (void)argument;
  struct ah_scratch *own = ah_scratch_create();
  for (int batch = 0; batch < BATCHES; batch++) {
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; own && i < AH_BATCH_MAX; i++)
      accepted += verify(own, shared_key, &shared_window, out[i], packets[i].out_length) == AH_OK;
    pthread_barrier_wait(&barrier);
  }
  ah_scratch_destroy(own);
  return NULL;
}

static void test_threads(void) {
  struct ah_key *mine = signer();
  pthread_t threads[THREADS];
  shared_key = verifier();
  pthread_barrier_init(&barrier, NULL, THREADS + 1);
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, verify_all, NULL);
  for (uint32_t batch = 0; batch < BATCHES; batch++) {
    fill(AH_BATCH_MAX, 1 + batch * AH_BATCH_MAX, 4);
    CHECK_EQUAL(ah_insert_batch(scratch, mine, SPI, packets, AH_BATCH_MAX), AH_OK);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  CHECK_EQUAL(accepted, BATCHES * AH_BATCH_MAX);
  pthread_barrier_destroy(&barrier);
  ah_key_destroy(mine);
  ah_key_destroy(shared_key);
}

int main(void) {
  scratch = ah_scratch_create();
  CHECK_EQUAL(make_key(&pair, "ED25519", 0, NULL), 0);
  CHECK_EQUAL(make_key(&other, "ED25519", 0, NULL), 0);
  test_sizes();
  test_alone();
  test_altered();
  test_swapped();
  test_foreign_key();
  test_left_out();
  test_not_a_batch();
  test_cache();
  test_threads();
  ah_scratch_destroy(scratch);
  return CHECK_RESULT();
}
