/* The vectors of RFC 2202, RFC 4231, RFC 4493 and RFC 4868, truncated as in AH. */
#include "../mac.h"

#include <errno.h>
#include <openssl/sha.h>

#include "check.h"
#include "hex.h"

#define TIMES_4(text) text text text text
#define TIMES_20(text) TIMES_4(text) TIMES_4(text) TIMES_4(text) TIMES_4(text) TIMES_4(text)
#define TIMES_50(text) TIMES_20(text) TIMES_20(text) TIMES_4(text) TIMES_4(text) text text
#define COUNTING_25 "0102030405060708090a0b0c0d0e0f10111213141516171819"
#define HI_THERE "4869205468657265"
#define WHAT_DO_YA "7768617420646f2079612077616e7420666f72206e6f7468696e673f"
#define AES_KEY "2b7e151628aed2a6abf7158809cf4f3c"
#define AES_16 "6bc1bee22e409f96e93d7e117393172a"
#define AES_40 AES_16 "ae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411"
#define AES_64 AES_16 "ae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"

/* A shorter key is filled up with zeros, as HMAC does itself; a longer one was hashed, as HMAC does too. */
static const struct {
  enum mac_algorithm algorithm;
  const char *key, *data, *code;
} VECTORS[] = {
    /* RFC 4868 section 2.7.2 */
    {MAC_HMAC_SHA256_128, TIMES_20("0b") TIMES_4("0b") TIMES_4("0b") TIMES_4("0b"), HI_THERE,
     "198a607eb44bfbc69903a0f1cf2bbdc5"},
    {MAC_HMAC_SHA256_128, TIMES_4("4a656665") TIMES_4("4a656665"), WHAT_DO_YA, "167f928588c5cc2eef8e3093caa0e87c"},
    /* RFC 4231: test cases 1 to 4 */
    {MAC_HMAC_SHA256_128, TIMES_20("0b"), HI_THERE, "b0344c61d8db38535ca8afceaf0bf12b"},
    {MAC_HMAC_SHA256_128, "4a656665", WHAT_DO_YA, "5bdcc146bf60754e6a042426089575c7"},
    {MAC_HMAC_SHA256_128, TIMES_20("aa"), TIMES_50("dd"), "773ea91e36800e46854db8ebd09181a7"},
    {MAC_HMAC_SHA256_128, COUNTING_25, TIMES_50("cd"), "82558a389a443c0ea4cc819899f2083a"},
    {MAC_HMAC_SHA384_192, TIMES_20("0b"), HI_THERE, "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec6"},
    {MAC_HMAC_SHA384_192, "4a656665", WHAT_DO_YA, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"},
    {MAC_HMAC_SHA384_192, TIMES_20("aa"), TIMES_50("dd"), "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9feb"},
    {MAC_HMAC_SHA384_192, COUNTING_25, TIMES_50("cd"), "3e8a69b7783c25851933ab6290af6ca77a9981480850009c"},
    /* RFC 2202 section 3: test cases 1 to 4 */
    {MAC_HMAC_SHA1_96, TIMES_20("0b"), HI_THERE, "b617318655057264e28bc0b6"},
    {MAC_HMAC_SHA1_96, "4a656665", WHAT_DO_YA, "effcdf6ae5eb2fa2d27416d5"},
    {MAC_HMAC_SHA1_96, TIMES_20("aa"), TIMES_50("dd"), "125d7342b9ac11cd91a39af4"},
    /* RFC 4493 section 4, RFC 4494 section 4 */
    {MAC_AES_CMAC_96, AES_KEY, "", "bb1d6929e95937287fa37d12"},
    {MAC_AES_CMAC_96, AES_KEY, AES_16, "070a16b46b4d4144f79bdd9d"},
    {MAC_AES_CMAC_96, AES_KEY, AES_40, "dfa66747de9ae63030ca3261"},
    {MAC_AES_CMAC_96, AES_KEY, AES_64, "51f0bebf7e3b9d92fc497417"},
};

/* RFC 4231 test cases 6 and 7 have a key of 131 bytes. */
static const struct {
  const char *data;
  const char *sha256, *sha384;
} LONG_KEY[] = {
    {"54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579204669727374",
     "60e431591ee0b67f0d8a26aacbf5b77f", "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f"},
    {"5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b657920616e6420"
     "61206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565647320746f2062652068617368"
     "6564206265666f7265206265696e6720757365642062792074686520484d414320616c676f726974686d2e",
     "9b09ffa71b942fcb27635fbcd5b0e944", "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9a"},
};

static void check_code(struct mac_scratch *s, enum mac_algorithm algorithm, const uint8_t *key_bytes,
                       const char *data_text, const char *code_text) {
  uint8_t data[256], expected[MAC_LENGTH_MAX], code[MAC_LENGTH_MAX];
  long length = hex_read(data, sizeof data, data_text);
  CHECK_EQUAL(hex_read(expected, sizeof expected, code_text), mac_length(algorithm));
  struct mac_key *key = mac_key_create(algorithm, key_bytes, mac_key_length(algorithm));
  CHECK(key != NULL);
  for (long cut = 0; key && cut <= length; cut++) {
    struct piece pieces[3] = {{data, (size_t)cut}, {NULL, 0}, {data + cut, (size_t)(length - cut)}};
    CHECK_EQUAL(mac_compute(s, key, pieces, 3, code), 0);
    CHECK(memcmp(code, expected, mac_length(algorithm)) == 0);
  }
  mac_key_destroy(key);
}

static void test_vectors(struct mac_scratch *s) {
  for (size_t i = 0; i < sizeof VECTORS / sizeof *VECTORS; i++) {
    uint8_t key[64] = {0};
    CHECK(hex_read(key, sizeof key, VECTORS[i].key) >= 0);
    check_code(s, VECTORS[i].algorithm, key, VECTORS[i].data, VECTORS[i].code);
  }
}

static void test_long_keys(struct mac_scratch *s) {
  uint8_t key[131], hashed[SHA384_DIGEST_LENGTH];
  memset(key, 0xaa, sizeof key);
  for (size_t i = 0; i < sizeof LONG_KEY / sizeof *LONG_KEY; i++) {
    SHA256(key, sizeof key, hashed);
    check_code(s, MAC_HMAC_SHA256_128, hashed, LONG_KEY[i].data, LONG_KEY[i].sha256);
    SHA384(key, sizeof key, hashed);
    check_code(s, MAC_HMAC_SHA384_192, hashed, LONG_KEY[i].data, LONG_KEY[i].sha384);
  }
}

/* Longer than what is encrypted at once. */
static void test_long_data(struct mac_scratch *s) {
  static uint8_t data[5000];
  uint8_t key_bytes[48] = {1}, whole[MAC_LENGTH_MAX], parts[MAC_LENGTH_MAX];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
  for (int a = 0; a < MAC_ALGORITHMS; a++) {
    enum mac_algorithm algorithm = (enum mac_algorithm)a;
    struct mac_key *key = mac_key_create(algorithm, key_bytes, mac_key_length(algorithm));
    struct piece one = {data, sizeof data};
    struct piece three[3] = {{data, 1023}, {data + 1023, 2050}, {data + 3073, sizeof data - 3073}};
    CHECK_EQUAL(mac_compute(s, key, &one, 1, whole), 0);
    CHECK_EQUAL(mac_compute(s, key, three, 3, parts), 0);
    CHECK(memcmp(whole, parts, mac_length(algorithm)) == 0);
    mac_key_destroy(key);
  }
}

static void test_key_lengths(void) {
  uint8_t key[64] = {0};
  for (int a = 0; a < MAC_ALGORITHMS; a++)
    for (size_t length = 0; length <= sizeof key; length++) {
      errno = 0;
      struct mac_key *made = mac_key_create((enum mac_algorithm)a, key, length);
      CHECK_EQUAL(made != NULL, length == mac_key_length((enum mac_algorithm)a));
      CHECK(made || errno == EINVAL);
      mac_key_destroy(made);
    }
}

int main(void) {
  struct mac_scratch *s = mac_scratch_create();
  CHECK(s != NULL);
  test_vectors(s);
  test_long_keys(s);
  test_long_data(s);
  test_key_lengths();
  mac_scratch_destroy(s);
  return CHECK_RESULT();
}
