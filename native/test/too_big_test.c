#include "../too-big.h"

#include "check.h"
#include "too-big-samples.h"

enum { ENOUGH = 60, AH_FIRST_PART = 8 };

static enum too_big_result read_built(struct too_big *t, const struct built *b) {
  return too_big_read(t, b->bytes, b->length);
}

static void test_what_is_said(void) {
  for (int family = 4; family <= 6; family += 2) {
    struct too_big t;
    struct built b = sample(family, ENOUGH);
    CHECK_EQUAL(read_built(&t, &b), TOO_BIG_OK);
    CHECK_EQUAL(t.family, family);
    CHECK_EQUAL(t.mtu, 1300);
    CHECK_EQUAL(t.spi, 0x01020304);
    CHECK(t.has_sequence && t.sequence == 7);
    CHECK_EQUAL(t.next, 17);
    CHECK_EQUAL(t.ah_length, family == 4 ? 28 : 32);
    CHECK_EQUAL(t.inner_length, ENOUGH - t.ah_length);
    CHECK(t.inner[0] == 4000 >> 8 && t.inner[3] == 80);
  }
}

static void test_short_quotes(void) {
  struct too_big t;
  struct built b = sample(4, AH_FIRST_PART);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_OK);
  CHECK(!t.has_sequence && t.inner_length == 0);
  b = sample(4, AH_FIRST_PART - 1);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_MALFORMED);
  b = sample(6, 12);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_OK);
  CHECK(t.has_sequence && t.inner_length == 0);
}

/* RFC 4884: what stands behind the quote is no part of it. */
static void test_extensions(void) {
  struct too_big t;
  struct built b = sample(4, ENOUGH);
  b.bytes[20 + 5] = (24 + 32) / 4;
  mend(&b);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_OK);
  CHECK_EQUAL(t.inner_length, 4);
}

static void test_other_messages(void) {
  struct too_big t;
  struct built b = sample(4, ENOUGH);
  b.bytes[20 + 1] = 3;
  mend(&b);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_OTHER);
  b = sample(6, ENOUGH);
  b.bytes[40] = 1;
  mend(&b);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_OTHER);
  b = sample(4, ENOUGH);
  b.bytes[quote_at(&b) + 9] = 17;
  mend(&b);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_OTHER);
}

static void test_damaged(void) {
  struct too_big t;
  for (int family = 4; family <= 6; family += 2) {
    struct built good = sample(family, ENOUGH);
    for (size_t length = 0; length < good.length; length++)
      CHECK(too_big_read(&t, good.bytes, length) != TOO_BIG_OK);
    struct built b = good;
    b.bytes[b.length - 1] ^= 1;
    CHECK_EQUAL(read_built(&t, &b), TOO_BIG_MALFORMED); /* the checksum */
    b = good;
    b.bytes[quote_at(&b)] ^= 0x20;
    mend(&b);
    CHECK_EQUAL(read_built(&t, &b), TOO_BIG_MALFORMED); /* the version */
  }
  struct built later = sample(4, ENOUGH);
  later.bytes[quote_at(&later) + 7] = 1;
  mend(&later);
  CHECK_EQUAL(read_built(&t, &later), TOO_BIG_MALFORMED); /* a fragment that has no AH */
}

static enum too_big_result with_mtu(int family, uint16_t mtu, struct too_big *t) {
  struct built b = sample(family, ENOUGH);
  put16(b.bytes + quote_at(&b) - 2, mtu);
  mend(&b);
  return read_built(t, &b);
}

static void test_sizes(void) {
  struct too_big t;
  CHECK_EQUAL(with_mtu(4, 576, &t), TOO_BIG_OK);
  CHECK_EQUAL(with_mtu(4, 575, &t), TOO_BIG_IMPLAUSIBLE);
  CHECK_EQUAL(with_mtu(6, 1280, &t), TOO_BIG_OK);
  CHECK_EQUAL(with_mtu(6, 1279, &t), TOO_BIG_IMPLAUSIBLE);
  uint16_t length = (uint16_t)t.length;
  CHECK_EQUAL(with_mtu(6, length, &t), TOO_BIG_IMPLAUSIBLE); /* the packet fits */
  CHECK_EQUAL(with_mtu(6, length - 1, &t), TOO_BIG_OK);
  CHECK_EQUAL(with_mtu(4, 0, &t), TOO_BIG_OK); /* a router of before RFC 1191 */
  CHECK_EQUAL(t.mtu, 1006);
}

/* Only this host's own packets may be told of. */
static void test_strangers(void) {
  struct too_big t;
  struct built b = sample(4, ENOUGH);
  b.bytes[quote_at(&b) + 15] ^= 1;
  mend(&b);
  CHECK_EQUAL(read_built(&t, &b), TOO_BIG_IMPLAUSIBLE);
}

int main(void) {
  test_what_is_said();
  test_short_quotes();
  test_extensions();
  test_other_messages();
  test_damaged();
  test_sizes();
  test_strangers();
  return CHECK_RESULT();
}
