#include "../ah.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "ah-golden.h"
#include "build-packet.h"
#include "check.h"
#include "hex.h"
#include "make-key.h"

enum { SPI = 0x1234, ROOM = 2048 };

static const size_t KEY_LENGTHS[] = {32, 48, 16, 20};
static struct ah_scratch *scratch;
static struct key_pair rsa, ec, ed;

static struct ah_key *symmetric_key(enum ah_algorithm algorithm) {
  uint8_t bytes[64];
  for (uint8_t i = 0; i < sizeof bytes; i++) bytes[i] = i;
  return ah_key_create(algorithm, bytes, KEY_LENGTHS[algorithm], 1);
}

static const struct key_pair *pair_of(enum ah_algorithm algorithm) {
  switch (algorithm) {
    case AH_RSA_2048:
    case AH_TREE_RSA_2048:
      return &rsa;
    case AH_ECDSA_P256:
    case AH_TREE_ECDSA_P256:
      return &ec;
    default:
      return &ed;
  }
}

static struct ah_key *make(enum ah_algorithm algorithm, int signs) {
  if (algorithm <= AH_HMAC_SHA1_96) return symmetric_key(algorithm);
  const struct key_pair *pair = pair_of(algorithm);
  return signs ? ah_key_create(algorithm, pair->private_der, pair->private_length, 1)
               : ah_key_create(algorithm, pair->public_der, pair->public_length, 0);
}

/* On a copy of exactly that length, so that the sanitizer sees every byte read too far. */
static enum ah_result verify_bytes(struct ah_key *key, struct ah_window *window, const uint8_t *bytes, size_t length) {
  struct ah_place place;
  uint8_t *copy = malloc(length ? length : 1);
  memcpy(copy, bytes, length);
  enum ah_result result = ah_find(&place, copy, length);
  if (result == AH_OK) result = ah_verify(scratch, key, window, copy, &place);
  free(copy);
  return result;
}

static void check_strip(uint8_t *protected, size_t length, const uint8_t *plain, size_t plain_length) {
  struct ah_place place;
  CHECK_EQUAL(ah_find(&place, protected, length), AH_OK);
  uint8_t *stripped = ah_strip(protected, &place);
  CHECK_EQUAL(place.length - place.ah_length, plain_length);
  CHECK(memcmp(stripped, plain, plain_length) == 0);
}

static void test_golden(void) {
  for (size_t i = 0; i < sizeof GOLDEN / sizeof *GOLDEN; i++) {
    uint8_t plain[ROOM], expected[ROOM], made[ROOM];
    size_t length;
    long plain_length = hex_read(plain, ROOM, GOLDEN[i].plain);
    long expected_length = hex_read(expected, ROOM, GOLDEN[i].protected);
    struct ah_key *key = symmetric_key(GOLDEN[i].algorithm);
    CHECK_EQUAL(ah_insert(scratch, key, SPI, 7, plain, (size_t)plain_length, made, ROOM, &length), AH_OK);
    CHECK_EQUAL(length, expected_length);
    CHECK(memcmp(made, expected, length) == 0);
    CHECK_EQUAL(verify_bytes(key, NULL, expected, (size_t)expected_length), AH_OK);
    check_strip(expected, (size_t)expected_length, plain, (size_t)plain_length);
    ah_key_destroy(key);
  }
}

static void udp(struct built *b, int family, size_t payload) {
  if (family == 4) begin4(b, IPPROTO_UDP, 0);
  else begin6(b, IPPROTO_UDP);
  put_udp(b, payload);
  finish(b);
  for (size_t i = b->length - payload; i < b->length; i++) b->bytes[i] = (uint8_t)i;
}

/* The built checksum is zero; strip writes the right one. */
static void with_checksum(struct built *b) {
  uint32_t sum = 0;
  if (b->bytes[0] >> 4 != 4) return;
  for (size_t i = 0; i < (size_t)(b->bytes[0] & 15) * 4; i += 2) sum += (uint32_t)(b->bytes[i] << 8 | b->bytes[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  put16(b->bytes + 10, ~sum & 0xffff);
}

static int changes_on_the_way(int family, size_t byte, int bit) {
  if (family == 4) return byte == 1 || (byte == 6 && bit >= 5) || byte == 8 || byte == 10 || byte == 11;
  return (byte == 0 && bit < 4) || (byte >= 1 && byte <= 3) || byte == 7;
}

/* Every bit of the packet, one after the other. */
static void check_alterations(struct ah_key *key, uint8_t *packet, size_t length, int family, int every) {
  for (size_t byte = 0; byte < length; byte++) {
    for (int bit = byte % 8; bit < 8; bit += every) {
      packet[byte] ^= (uint8_t)(1 << bit);
      enum ah_result result = verify_bytes(key, NULL, packet, length);
      if (changes_on_the_way(family, byte, bit)) CHECK(result == AH_OK || result == AH_FRAGMENT);
      else CHECK(result != AH_OK);
      packet[byte] ^= (uint8_t)(1 << bit);
    }
  }
  CHECK_EQUAL(verify_bytes(key, NULL, packet, length), AH_OK);
}

static void test_algorithm(enum ah_algorithm algorithm, int family) {
  struct built b;
  uint8_t out[ROOM];
  size_t length;
  struct ah_key *signer = make(algorithm, 1), *verifier = make(algorithm, 0);
  udp(&b, family, 40);
  with_checksum(&b);
  CHECK(signer && verifier);
  if (!signer || !verifier) return;
  CHECK_EQUAL(ah_insert(scratch, signer, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_OK);
  CHECK_EQUAL(length, b.length + ah_length(algorithm, family, 1));
  CHECK_EQUAL(verify_bytes(verifier, NULL, out, length), AH_OK);
  CHECK_EQUAL(verify_bytes(signer, NULL, out, length), AH_OK);
  check_alterations(verifier, out, length, family, algorithm <= AH_HMAC_SHA1_96 ? 1 : 8);
  check_strip(out, length, b.bytes, b.length);
  ah_key_destroy(signer);
  ah_key_destroy(verifier);
}

static void test_lengths(void) {
  static const size_t v4[] = {28, 36, 24, 24, 268, 76, 76, 280, 88, 88};
  static const size_t v6[] = {32, 40, 24, 24, 272, 80, 80, 280, 88, 88};
  for (int a = 0; a < AH_ALGORITHMS; a++) {
    CHECK_EQUAL(ah_length((enum ah_algorithm)a, 4, 1), v4[a]);
    CHECK_EQUAL(ah_length((enum ah_algorithm)a, 6, 1), v6[a]);
    CHECK(ah_length_max((enum ah_algorithm)a, 6) <= AH_LENGTH_MAX);
    for (unsigned n = 1; n <= AH_BATCH_MAX; n++) CHECK_EQUAL(ah_length((enum ah_algorithm)a, 6, n) % 8, 0);
  }
  CHECK_EQUAL(ah_length_max(AH_TREE_RSA_2048, 4), AH_LENGTH_MAX);
  CHECK_EQUAL(ah_length_max(AH_TREE_ED25519, 4), 88 + 6 * 16);
}

/* Linux rounds up to 8 bytes in IPv4 too; padding may be anything and is covered; more of it is refused. */
static void test_padding(void) {
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  uint8_t packet[ROOM];
  /* 32 bytes of AH over IPv4, padding a1 b2 c3 d4, made with Python's hmac. */
  static const char *const linux_like =
      "45000044000100003f33d1f9c0a81401c0a81504"
      "110600000000123400000007d48d28e11d47aa17018d7955fbc2a7c1a1b2c3d4"
      "0fa00050001000006162636465666768";
  static const char *const padded_more =
      "45000048000100003f33d1f9c0a81401c0a81504"
      "110700000000123400000007de8ae25f11558a62f25a316c6cbe356ea1b2c3d4e5f60718"
      "0fa00050001000006162636465666768";
  long length = hex_read(packet, ROOM, padded_more);
  CHECK(length > 0);
  CHECK_EQUAL(verify_bytes(key, NULL, packet, (size_t)length), AH_BAD_ICV);
  length = hex_read(packet, ROOM, linux_like);
  CHECK(length > 0);
  CHECK_EQUAL(verify_bytes(key, NULL, packet, (size_t)length), AH_OK);
  for (int i = 48; i < 52; i++) {
    packet[i] ^= 1;
    CHECK_EQUAL(verify_bytes(key, NULL, packet, (size_t)length), AH_BAD_ICV);
    packet[i] ^= 1;
  }
  for (int words = 0; words < 256; words++) {
    packet[21] = (uint8_t)words;
    enum ah_result result = verify_bytes(key, NULL, packet, (size_t)length);
    CHECK(words == 6 ? result == AH_OK : result == AH_BAD_ICV || result == AH_MALFORMED);
  }
  ah_key_destroy(key);
}

static void test_find(void) {
  struct ah_place place;
  struct built b;
  udp(&b, 4, 8);
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length), AH_NONE);
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length - 1), AH_MALFORMED);
  CHECK_EQUAL(ah_find(&place, b.bytes, 0), AH_MALFORMED);
  b.bytes[6] = 0x20;
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length), AH_FRAGMENT);
  b.bytes[6] = 0, b.bytes[7] = 9;
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length), AH_FRAGMENT);
  b.bytes[7] = 0, b.bytes[0] = 0x44;
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length), AH_MALFORMED);
  b.bytes[0] = 0x55;
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length), AH_MALFORMED);
  begin6(&b, IPPROTO_FRAGMENT);
  put_extension(&b, IPPROTO_UDP, 1);
  put_udp(&b, 8);
  finish(&b);
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length), AH_FRAGMENT);
  begin6(&b, IPPROTO_DSTOPTS);
  put_extension(&b, IPPROTO_HOPOPTS, 1);
  put_extension(&b, IPPROTO_UDP, 1);
  put_udp(&b, 8);
  finish(&b);
  CHECK_EQUAL(ah_find(&place, b.bytes, b.length), AH_MALFORMED);
}

static void test_find_places(void) {
  struct ah_key *key = symmetric_key(AH_AES_CMAC_96);
  struct ah_place place;
  struct built b;
  uint8_t out[ROOM];
  size_t length;
  begin6(&b, IPPROTO_HOPOPTS);
  put_extension(&b, IPPROTO_DSTOPTS, 2);
  put_extension(&b, IPPROTO_ROUTING, 1);
  put_extension(&b, IPPROTO_DSTOPTS, 1);
  put_extension(&b, IPPROTO_UDP, 3);
  put_udp(&b, 100);
  finish(&b);
  CHECK_EQUAL(ah_insert(scratch, key, 0xfedcba98, 0x01020304, b.bytes, b.length, out, ROOM, &length), AH_OK);
  out[72] = IPPROTO_AH; /* another one right behind */
  CHECK_EQUAL(ah_find(&place, out, length), AH_MALFORMED);
  out[72] = IPPROTO_DSTOPTS;
  out[73] = 5; /* 28 bytes are no multiple of 8 */
  CHECK_EQUAL(ah_find(&place, out, length), AH_MALFORMED);
  out[73] = 4;
  memset(out + length, 0xff, 8); /* link padding */
  CHECK_EQUAL(ah_find(&place, out, length + 8), AH_OK);
  CHECK_EQUAL(place.at, 40 + 16 + 8 + 8);
  CHECK_EQUAL(place.next_field, 64);
  CHECK_EQUAL(place.next, IPPROTO_DSTOPTS);
  CHECK_EQUAL(place.length, b.length + 24);
  CHECK_EQUAL(place.spi, 0xfedcba98);
  CHECK_EQUAL(place.sequence, 0x01020304);
  CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_OK);
  for (size_t cut = 0; cut < length; cut++) CHECK_EQUAL(verify_bytes(key, NULL, out, cut), AH_MALFORMED);
  check_strip(out, length, b.bytes, b.length);
  ah_key_destroy(key);
}

static void test_insert_refusals(void) {
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  static uint8_t large[70000], out[70000];
  struct built b;
  size_t length;
  udp(&b, 4, 100);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 0, b.bytes, b.length, out, sizeof out, &length), AH_NO_SEQUENCE);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, b.length + 27, &length), AH_TOO_LONG);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length - 1, out, sizeof out, &length), AH_MALFORMED);
  CHECK_EQUAL(length, 0);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, b.length + 28, &length), AH_OK);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, out, length, large, sizeof large, &length), AH_PRESENT);
  memcpy(large, b.bytes, b.length);
  put16(large + 2, 65535 - 27);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, large, sizeof large, out, sizeof out, &length), AH_TOO_LONG);
  put16(large + 2, 65535 - 28);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, large, sizeof large, out, sizeof out, &length), AH_OK);
  CHECK_EQUAL(length, 65535);
  b.bytes[6] = 0x20;
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, sizeof out, &length), AH_FRAGMENT);
  ah_key_destroy(key);
}

/* The largest packet also with the algorithm that needs it in one piece. */
static void test_large_signed(void) {
  struct ah_key *key = make(AH_ED25519, 1);
  static uint8_t large[66000], out[66000];
  struct built b;
  size_t length;
  udp(&b, 6, 8);
  memcpy(large, b.bytes, b.length);
  put16(large + 4, 65535 - 80);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, large, sizeof large, out, sizeof out, &length), AH_OK);
  CHECK_EQUAL(length, 40 + 65535);
  CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_OK);
  ah_key_destroy(key);
}

/* A malformed option list verifies nowhere, whatever the key. */
static void test_bad_options(void) {
  static const uint8_t bad4[][4] = {{7, 0, 0, 0}, {7, 1, 0, 0},   {7, 5, 0, 0},
                                    {1, 1, 1, 7}, {131, 3, 3, 0}, {137, 2, 1, 1}};
  static const uint8_t bad6[][6] = {{3, 5, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 9}, {0x3e, 4, 1, 2, 3, 4}};
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  uint8_t out[ROOM];
  struct built b;
  size_t length;
  for (size_t i = 0; i < sizeof bad4 / sizeof *bad4; i++) {
    begin4(&b, IPPROTO_UDP, 1);
    memcpy(b.bytes + 20, bad4[i], 4);
    put_udp(&b, 8);
    finish(&b);
    CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length),
                AH_MALFORMED);
  }
  for (size_t i = 0; i < sizeof bad6 / sizeof *bad6; i++) {
    begin6(&b, IPPROTO_HOPOPTS);
    put_extension(&b, IPPROTO_UDP, 1);
    memcpy(b.bytes + 42, bad6[i], 6);
    put_udp(&b, 8);
    finish(&b);
    CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length),
                bad6[i][0] == 0x3e ? AH_OK : AH_MALFORMED);
  }
  ah_key_destroy(key);
}

/* Whether the packet still verifies when one byte of it has changed on the way. */
static int survives(struct ah_key *key, uint8_t *packet, size_t length, size_t at) {
  packet[at] ^= 1;
  int fine = verify_bytes(key, NULL, packet, length) == AH_OK;
  packet[at] ^= 1;
  return fine;
}

static void test_options_on_the_way4(void) {
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  static const uint8_t options[16] = {148, 4, 0, 0, 7, 7, 4, 9, 9, 9, 9, 1, 30, 3, 5, 0};
  uint8_t out[ROOM];
  struct built b;
  size_t length;
  begin4(&b, IPPROTO_UDP, 4);
  memcpy(b.bytes + 20, options, sizeof options);
  put_udp(&b, 8);
  finish(&b);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_OK);
  for (size_t i = 0; i < 4; i++) CHECK(!survives(key, out, length, 20 + i)); /* Router Alert */
  for (size_t i = 6; i < 11; i++) CHECK(survives(key, out, length, 20 + i)); /* recorded route */
  CHECK(!survives(key, out, length, 20 + 11));
  CHECK(survives(key, out, length, 20 + 12)); /* an unknown option */
  CHECK(survives(key, out, length, 20 + 14));
  ah_key_destroy(key);
}

static void test_options_on_the_way6(void) {
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  static const uint8_t options[14] = {0x3e, 4, 1, 2, 3, 4, 0x1e, 4, 1, 2, 3, 4, 1, 0};
  uint8_t out[ROOM];
  struct built b;
  size_t length;
  begin6(&b, IPPROTO_HOPOPTS);
  put_extension(&b, IPPROTO_DSTOPTS, 2);
  memcpy(b.bytes + 42, options, sizeof options);
  put_extension(&b, IPPROTO_UDP, 2);
  memcpy(b.bytes + 58, options, sizeof options);
  put_udp(&b, 8);
  finish(&b);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_OK);
  for (size_t i = 0; i < sizeof options; i++) CHECK_EQUAL(survives(key, out, length, 42 + i), i >= 2 && i < 6);
  size_t behind = 56 + ah_length(AH_HMAC_SHA256_128, 6, 1);
  CHECK_EQUAL(out[behind + 2], 0x3e); /* what follows AH does not change on the way */
  for (size_t i = 0; i < 16; i++) CHECK(!survives(key, out, length, behind + i));
  ah_key_destroy(key);
}

/* Signed at the sender, verified at each node that a source route leads through. */
static void test_source_route4(void) {
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  static const uint8_t route[12] = {131, 11, 4, 10, 0, 0, 2, 10, 0, 0, 9, 0};
  uint8_t out[ROOM];
  struct built b;
  size_t length;
  begin4(&b, IPPROTO_UDP, 3);
  memcpy(b.bytes + 20, route, sizeof route);
  put_udp(&b, 8);
  finish(&b);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_OK);
  memcpy(out + 16, route + 3, 4); /* at the first node: on to 10.0.0.2 */
  out[22] = 8;
  memset(out + 23, 1, 4);
  CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_OK);
  memcpy(out + 16, route + 7, 4); /* at the second: on to 10.0.0.9 */
  out[22] = 12;
  memset(out + 27, 1, 4);
  CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_OK);
  out[19] ^= 1;
  CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_BAD_ICV);
  ah_key_destroy(key);
}

static void swap16(uint8_t *a, uint8_t *b) {
  uint8_t kept[16];
  memcpy(kept, a, 16);
  memcpy(a, b, 16);
  memcpy(b, kept, 16);
}

static void test_source_route6(void) {
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  uint8_t out[ROOM];
  struct built b;
  size_t length;
  begin6(&b, IPPROTO_ROUTING);
  put_extension(&b, IPPROTO_UDP, 7);
  b.bytes[43] = 3;
  for (int i = 0; i < 3; i++) b.bytes[48 + 16 * i] = 0xfd, b.bytes[48 + 16 * i + 15] = (uint8_t)(10 + i);
  put_udp(&b, 8);
  finish(&b);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_OK);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_OK);
    swap16(out + 24, out + 48 + 16 * i);
    out[43]--;
  }
  CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_OK);
  out[63] ^= 1;
  CHECK_EQUAL(verify_bytes(key, NULL, out, length), AH_BAD_ICV);
  b.bytes[43] = 4;
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_MALFORMED);
  b.bytes[43] = 1, b.bytes[42] = 4; /* segment routing: where it leads is not known here */
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_MALFORMED);
  ah_key_destroy(key);
}

static void test_replay(void) {
  struct ah_key *key = symmetric_key(AH_HMAC_SHA256_128);
  struct ah_window window;
  struct built b;
  uint8_t out[ROOM];
  size_t length;
  memset(&window, 0, sizeof window);
  udp(&b, 4, 20);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 5, b.bytes, b.length, out, ROOM, &length), AH_OK);
  out[length - 1] ^= 1;
  CHECK_EQUAL(verify_bytes(key, &window, out, length), AH_BAD_ICV);
  CHECK_EQUAL(window.top, 0);
  out[length - 1] ^= 1;
  CHECK_EQUAL(verify_bytes(key, &window, out, length), AH_OK);
  CHECK_EQUAL(window.top, 5);
  CHECK_EQUAL(verify_bytes(key, &window, out, length), AH_REPLAYED);
  memset(out + 28, 0, 4);
  CHECK_EQUAL(verify_bytes(key, &window, out, length), AH_REPLAYED);
  memset(out + 28, 0xff, 4); /* a high number that is not authentic moves nothing */
  CHECK_EQUAL(verify_bytes(key, &window, out, length), AH_BAD_ICV);
  CHECK_EQUAL(window.top, 5);
  CHECK_EQUAL(ah_insert(scratch, key, SPI, 4, b.bytes, b.length, out, ROOM, &length), AH_OK);
  CHECK_EQUAL(verify_bytes(key, &window, out, length), AH_OK);
  ah_key_destroy(key);
}

static void refuse_key(enum ah_algorithm algorithm, const uint8_t *bytes, size_t length, int signs) {
  errno = 0;
  struct ah_key *key = ah_key_create(algorithm, bytes, length, signs);
  CHECK(key == NULL);
  CHECK_EQUAL(errno, EINVAL);
  ah_key_destroy(key);
}

static void test_keys(void) {
  static struct key_pair other;
  uint8_t longer[1100];
  refuse_key(AH_RSA_2048, ec.public_der, ec.public_length, 0);
  refuse_key(AH_ECDSA_P256, ed.public_der, ed.public_length, 0);
  refuse_key(AH_TREE_ED25519, rsa.public_der, rsa.public_length, 0);
  refuse_key(AH_ED25519, ed.public_der, ed.public_length, 1);
  refuse_key(AH_ED25519, ed.private_der, ed.private_length, 0);
  for (size_t cut = 0; cut < ec.public_length; cut++) refuse_key(AH_ECDSA_P256, ec.public_der, cut, 0);
  memcpy(longer, ec.public_der, ec.public_length);
  longer[ec.public_length] = 0;
  refuse_key(AH_ECDSA_P256, longer, ec.public_length + 1, 0);
  refuse_key(AH_ALGORITHMS, longer, 32, 0);
  CHECK_EQUAL(make_key(&other, "EC", 0, "P-384"), 0);
  refuse_key(AH_ECDSA_P256, other.public_der, other.public_length, 0);
  CHECK_EQUAL(make_key(&other, "RSA", 1024, NULL), 0);
  refuse_key(AH_RSA_2048, other.public_der, other.public_length, 0);
  CHECK_EQUAL(make_slow_key(&other), 0);
  refuse_key(AH_RSA_2048, other.public_der, other.public_length, 0);
  ah_key_destroy(NULL);
}

/* A public key cannot sign, and one key's signatures are none of another's. */
static void test_foreign_key(void) {
  static struct key_pair other;
  struct ah_key *mine = make(AH_ED25519, 1), *public_ = make(AH_ED25519, 0);
  struct built b;
  uint8_t out[ROOM];
  size_t length;
  udp(&b, 4, 20);
  CHECK_EQUAL(make_key(&other, "ED25519", 0, NULL), 0);
  struct ah_key *foreign = ah_key_create(AH_ED25519, other.public_der, other.public_length, 0);
  CHECK_EQUAL(ah_insert(scratch, public_, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_FAILED);
  CHECK_EQUAL(ah_insert(scratch, mine, SPI, 1, b.bytes, b.length, out, ROOM, &length), AH_OK);
  CHECK_EQUAL(verify_bytes(foreign, NULL, out, length), AH_BAD_ICV);
  ah_key_destroy(mine);
  ah_key_destroy(public_);
  ah_key_destroy(foreign);
}

/* One key of each algorithm, used by two threads at once. */
static struct ah_key *shared_signer, *shared_verifier;

static void *insert_and_verify(void *argument) {
  int *wrong = argument;
  struct ah_scratch *own = ah_scratch_create();
  for (uint32_t i = 1; own && i <= 8; i++) {
    uint8_t out[ROOM];
    struct ah_place place;
    struct built b;
    size_t length;
    udp(&b, 4, 10 + i);
    if (ah_insert(own, shared_signer, SPI, i, b.bytes, b.length, out, ROOM, &length) != AH_OK) ++*wrong;
    else if (ah_find(&place, out, length) != AH_OK) ++*wrong;
    else if (ah_verify(own, shared_verifier, NULL, out, &place) != AH_OK) ++*wrong;
  }
  ah_scratch_destroy(own);
  return NULL;
}

static void test_threads(enum ah_algorithm algorithm) {
  pthread_t threads[2];
  int wrong[2] = {0, 0};
  shared_signer = make(algorithm, 1);
  shared_verifier = make(algorithm, 0);
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, insert_and_verify, &wrong[i]);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  CHECK_EQUAL(wrong[0] + wrong[1], 0);
  ah_key_destroy(shared_signer);
  ah_key_destroy(shared_verifier);
}

int main(void) {
  scratch = ah_scratch_create();
  CHECK(scratch != NULL);
  CHECK_EQUAL(make_key(&rsa, "RSA", 2048, NULL), 0);
  CHECK_EQUAL(make_key(&ec, "EC", 0, "P-256"), 0);
  CHECK_EQUAL(make_key(&ed, "ED25519", 0, NULL), 0);
  test_golden();
  for (int a = 0; a < AH_ALGORITHMS; a++) {
    test_algorithm((enum ah_algorithm)a, 4);
    test_algorithm((enum ah_algorithm)a, 6);
    test_threads((enum ah_algorithm)a);
  }
  test_lengths();
  test_padding();
  test_find();
  test_find_places();
  test_insert_refusals();
  test_large_signed();
  test_bad_options();
  test_options_on_the_way4();
  test_options_on_the_way6();
  test_source_route4();
  test_source_route6();
  test_replay();
  test_keys();
  test_foreign_key();
  ah_scratch_destroy(scratch);
  return CHECK_RESULT();
}
