/*
 * What AH costs a packet: nanoseconds to insert and to verify, for each algorithm and size, the best of some rounds.
 *   cc -std=gnu11 -D_GNU_SOURCE -O2 ah_bench.c ../ah-*.c ../mac.c ../cmac.c ../signature.c ../tree*.c \
 *     -lcrypto -lpthread
 */
#include <netinet/in.h>
#include <time.h>

#include "../ah.h"
#include "build-packet.h"
#include "check.h"
#include "make-key.h"

enum { ROUNDS = 7, ROOM = 2048, SPI = 1000 };
enum { NANOSECONDS_PER_ROUND = 20000000 };

static const char *const NAMES[AH_ALGORITHMS] = {
    "hmac-sha256-128", "hmac-sha384-192", "aes-cmac-96",   "hmac-sha1-96",    "rsa-2048",
    "ecdsa-p256",      "ed25519",         "tree-rsa-2048", "tree-ecdsa-p256", "tree-ed25519"};
static const size_t SIZES[] = {64, 512, 1400}, KEY_LENGTHS[] = {32, 48, 16, 20};

static struct ah_scratch *scratch;
static struct built plain;
static uint8_t out[AH_BATCH_MAX][ROOM];
static struct ah_outgoing packets[AH_BATCH_MAX];
static struct ah_key *signer, *verifier;
static unsigned batch;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void insert_all(void) {
  for (unsigned i = 0; i < batch; i++)
    packets[i] = (struct ah_outgoing){plain.bytes, plain.length, i + 1, out[i], ROOM, 0, AH_FAILED};
  if (batch > 1) {
    CHECK_EQUAL(ah_insert_batch(scratch, signer, SPI, packets, batch), AH_OK);
    return;
  }
  size_t *length = &packets[0].out_length;
  CHECK_EQUAL(ah_insert(scratch, signer, SPI, 1, plain.bytes, plain.length, out[0], ROOM, length), AH_OK);
}

static void verify_all(void) {
  struct ah_place place;
  for (unsigned i = 0; i < batch; i++) {
    CHECK_EQUAL(ah_find(&place, out[i], packets[i].out_length), AH_OK);
    CHECK_EQUAL(ah_verify(scratch, verifier, NULL, out[i], &place), AH_OK);
  }
}

static void insert_and_verify(void) {
  insert_all();
  verify_all();
}

/* A packet's share of the best round. */
static double measure(void (*work)(void)) {
  double best = 1e18;
  for (int round = 0; round < ROUNDS; round++) {
    double start = now(), end;
    long times = 0;
    do {
      work();
      times++;
      end = now();
    } while (end - start < NANOSECONDS_PER_ROUND);
    double each = (end - start) / (double)times / batch;
    if (each < best) best = each;
  }
  return best;
}

static void make_keys(enum ah_algorithm algorithm, const struct key_pair *pairs) {
  static const uint8_t key[64] = {1};
  const struct key_pair *pair = &pairs[(algorithm - AH_RSA_2048) % 3];
  int symmetric = algorithm < AH_RSA_2048;
  signer = symmetric ? ah_key_create(algorithm, key, KEY_LENGTHS[algorithm], 1)
                     : ah_key_create(algorithm, pair->private_der, pair->private_length, 1);
  verifier = symmetric ? ah_key_create(algorithm, key, KEY_LENGTHS[algorithm], 0)
                       : ah_key_create(algorithm, pair->public_der, pair->public_length, 0);
}

/* The root of a tree is known after its first packet, so a batch is verified right after it was made. */
static void run(enum ah_algorithm algorithm, unsigned count) {
  printf("%-16s %3u", NAMES[algorithm], count);
  batch = count;
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    begin4(&plain, IPPROTO_UDP, 0);
    put_udp(&plain, SIZES[i] - 28);
    finish(&plain);
    double insert = measure(insert_all);
    insert_all();
    double verify = ah_is_tree(algorithm) ? measure(insert_and_verify) - insert : measure(verify_all);
    printf("  | %8.0f %8.0f", insert, verify);
  }
  printf("\n");
}

int main(void) {
  static struct key_pair pairs[3];
  scratch = ah_scratch_create();
  CHECK_EQUAL(make_key(&pairs[0], "RSA", 2048, NULL), 0);
  CHECK_EQUAL(make_key(&pairs[1], "EC", 0, "P-256"), 0);
  CHECK_EQUAL(make_key(&pairs[2], "ED25519", 0, NULL), 0);
  printf("nanoseconds a packet, insert and verify, at 64, 512 and 1400 bytes\n");
  for (int a = 0; a < AH_ALGORITHMS; a++) {
    make_keys((enum ah_algorithm)a, pairs);
    run((enum ah_algorithm)a, 1);
    for (unsigned count = 4; ah_is_tree((enum ah_algorithm)a) && count <= AH_BATCH_MAX; count *= 4)
      run((enum ah_algorithm)a, count);
    ah_key_destroy(signer);
    ah_key_destroy(verifier);
  }
  ah_scratch_destroy(scratch);
  return CHECK_RESULT();
}
