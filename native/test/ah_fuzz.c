/*
 * AH against any bytes: built by clang with -fsanitize=fuzzer, or with its own driver (-DWITH_DRIVER), which takes how
 * many inputs to try and mutates packets with and without AH at random.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "../ah.h"
#include "build-packet.h"

enum { ROOM = 4096, SPI = 0x10203 };

static struct ah_scratch *scratch;
static struct ah_key *mac, *tree;

static void require(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "ah_fuzz: not so: %s\n", what);
  abort();
}

/* Public key of an Ed25519 pair: the generator of the group, which is one. */
static void prepare(void) {
  static const uint8_t key[32] = {1, 2, 3};
  uint8_t public_[44] = {0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0, 0x58};
  memset(public_ + 13, 0x66, 31);
  if (scratch) return;
  scratch = ah_scratch_create();
  mac = ah_key_create(AH_HMAC_SHA256_128, key, sizeof key, 0);
  tree = ah_key_create(AH_TREE_ED25519, public_, sizeof public_, 0);
  require(scratch && mac && tree, "keys are made");
}

static void check_found(uint8_t *bytes, size_t length, const struct ah_place *place) {
  require(place->length <= length, "a packet is no longer than it is");
  require(place->at + place->ah_length <= place->length, "AH is part of the packet");
  require(place->next_field < place->at, "what says that AH comes is before it");
  require(ah_verify(scratch, tree, NULL, bytes, place) != AH_OK, "nobody signed this");
  ah_verify(scratch, mac, NULL, bytes, place);
  struct ah_place after;
  size_t left = place->length - place->ah_length;
  enum ah_result found = ah_find(&after, ah_strip(bytes, place), left);
  require(found != AH_OK || place->next != IPPROTO_AH, "AH stands once");
}

/* What can be put in can be found, verified, and taken out again. */
static void check_inserted(const uint8_t *bytes, size_t length) {
  static uint8_t out[ROOM];
  struct ah_place place;
  size_t written;
  if (ah_insert(scratch, mac, SPI, 1, bytes, length, out, ROOM, &written) != AH_OK) return;
  require(ah_find(&place, out, written) == AH_OK, "what was put in is found");
  require(place.length == written && place.spi == SPI, "as it was put in");
  require(ah_verify(scratch, mac, NULL, out, &place) == AH_OK, "it verifies");
  uint8_t *stripped = ah_strip(out, &place);
  size_t left = written - place.ah_length;
  require(left <= length, "it is as long as before");
  for (size_t i = 0; i < left; i++)
    require(stripped[i] == bytes[i] || ((bytes[0] >> 4) == 4 && (i == 10 || i == 11)), "it is as before");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct ah_place place;
  prepare();
  check_inserted(data, size);
  uint8_t *copy = malloc(size ? size : 1);
  if (size > 0) memcpy(copy, data, size);
  if (ah_find(&place, copy, size) == AH_OK) check_found(copy, size, &place);
  free(copy);
  return 0;
}

#ifdef WITH_DRIVER
#include "pick.h"

enum { ROUNDS_DEFAULT = 100000, MUTATIONS = 5 };

static void put_option(struct built *b, unsigned words) {
  static const uint8_t options[] = {0, 1, 7, 68, 130, 131, 137, 148, 82, 30};
  b->bytes[20] = options[pick(10)];
  b->bytes[21] = (uint8_t)pick(words * 4 + 1);
  b->bytes[22] = (uint8_t)pick(16);
}

static void make_ipv6(struct built *b) {
  static const uint8_t kinds[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS};
  uint8_t order[5] = {IPPROTO_UDP, IPPROTO_UDP, IPPROTO_UDP, IPPROTO_UDP, IPPROTO_UDP};
  unsigned count = pick(4);
  for (unsigned i = 0; i < count; i++) order[i] = i == 0 ? kinds[pick(3)] : kinds[1 + pick(2)];
  begin6(b, order[0]);
  for (unsigned i = 0; i < count; i++) {
    size_t at = b->length;
    put_extension(b, order[i + 1], 1 + 2 * pick(3));
    if (pick(2)) b->bytes[at + 3] = (uint8_t)pick(3);
  }
}

/* IPv4 options, and IPv6 headers of each kind; AH on two of three. */
static void make_seed(struct built *b) {
  if (pick(2)) {
    unsigned words = pick(4);
    begin4(b, IPPROTO_UDP, words);
    if (words) put_option(b, words);
  } else {
    make_ipv6(b);
  }
  put_udp(b, pick(200));
  finish(b);
  size_t written;
  static uint8_t out[ROOM];
  if (pick(3) && ah_insert(scratch, mac, SPI, 1, b->bytes, b->length, out, sizeof b->bytes, &written) == AH_OK) {
    memcpy(b->bytes, out, written);
    b->length = written;
  }
}

static void try_one(void) {
  struct built b;
  make_seed(&b);
  for (uint32_t i = pick(MUTATIONS + 1); i > 0; i--) {
    uint32_t among = pick(2) ? 80 : (uint32_t)b.length;
    b.bytes[pick(among) % b.length] = (uint8_t)pick(256);
  }
  size_t length = pick(4) ? b.length : pick((uint32_t)b.length + 1);
  uint8_t *input = malloc(length ? length : 1);
  memcpy(input, b.bytes, length);
  LLVMFuzzerTestOneInput(input, length);
  free(input);
}

int main(int argc, char **argv) {
  long rounds = argc > 1 ? atol(argv[1]) : ROUNDS_DEFAULT;
  prepare();
  for (long i = 0; i < rounds; i++) try_one();
  ah_key_destroy(mac);
  ah_key_destroy(tree);
  ah_scratch_destroy(scratch);
  return 0;
}
#endif
