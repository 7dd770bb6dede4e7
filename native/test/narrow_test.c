#include "../narrow.h"

#include <netinet/in.h>

#include "../emit.h"
#include "../too-big.h"
#include "ah-flows.h"
#include "check.h"
#include "hex.h"
#include "too-big-golden.h"
#include "too-big-samples.h"

enum { SPI = 0x1234, NUMBER = 7, ROOM = 28, ROOM_IPV6 = 32, LARGE = 1400, MINUTE = 60, ROOMY = 1 << 30 };

struct fixture {
  struct engine *engine;
  struct narrow narrow;
  struct association *association;
  struct packet packet; /* UDP from port 4000 to 80, without AH */
  struct built plain;
  uint64_t now;
  uint8_t out[TOO_BIG_MAX];
  size_t made;
};

static struct built plain_packet(int family, uint8_t protocol, size_t payload) {
  struct built b;
  if (family == 6) begin6(&b, protocol);
  else begin4(&b, protocol, 0);
  if (protocol == IPPROTO_TCP) put_tcp(&b, 16, NULL, 0, payload);
  else put_udp(&b, payload);
  if (family == 4) b.bytes[6] = 0x40;
  finish(&b);
  return b;
}

static uint64_t hash_of(const struct fixture *f) { return table_hash(f->engine->table, &f->packet.key); }

/* A flow of this host with AH, of which NUMBER packets were sent. */
static void set_up(struct fixture *f, int family, uint8_t protocol) {
  memset(f, 0, sizeof *f);
  f->engine = table_engine(16, 1);
  CHECK_EQUAL(narrow_init(&f->narrow), 0);
  f->now = clock_now();
  f->plain = plain_packet(family, protocol, LARGE);
  f->packet = parsed_packet(&f->plain);
  f->association = mac_association(SPI, 1, PROTECT_INSERT);
  atomic_store(&f->association->sequence, NUMBER);
  struct permission permission = {
      .allowed = ROOMY, .expires = f->now + 60 * MINUTE * NANOSECONDS_PER_SECOND, .notify_at = NO_THRESHOLD};
  struct authentication wanted = {.association = f->association};
  enum permit_result result;
  engine_permit(f->engine, &f->packet.key, hash_of(f), &permission, &wanted, &result);
  narrow_sent(&f->narrow, SPI, &f->packet, f->plain.bytes);
}

static void tear_down(struct fixture *f) {
  narrow_destroy(&f->narrow);
  engine_close(f->engine);
}

static enum counter translate(struct fixture *f, const uint8_t *bytes, size_t length) {
  uint8_t *exact = malloc(length);
  memcpy(exact, bytes, length);
  enum counter result = narrow_translate(&f->narrow, &f->engine->judge, exact, length, f->now, f->out, &f->made);
  free(exact);
  return result;
}

/* What a router says of the flow's packet with that SPI and number, of which the first bytes are quoted. */
static enum counter told(struct fixture *f, uint32_t spi, uint32_t sequence, size_t quoted) {
  struct built wire = with_mac(&f->plain, spi, 1, sequence), b = message_about(&wire, quoted);
  return translate(f, b.bytes, b.length);
}

static void test_golden(void) {
  for (size_t i = 0; i < sizeof GOLDEN / sizeof *GOLDEN; i++) {
    struct fixture f;
    uint8_t said[512], expected[512];
    long said_length = hex_read(said, sizeof said, GOLDEN[i].said);
    long length = hex_read(expected, sizeof expected, GOLDEN[i].told);
    set_up(&f, said[0] >> 4, IPPROTO_UDP);
    CHECK_EQUAL(translate(&f, said, (size_t)said_length), COUNTER_TOO_BIG_TOLD);
    CHECK_EQUAL(f.made, length);
    CHECK(f.made == (size_t)length && memcmp(f.out, expected, f.made) == 0);
    tear_down(&f);
  }
}

/* TCP takes no message about a segment that it has not sent. */
static void test_rebuilt_tcp(void) {
  struct fixture f;
  set_up(&f, 4, IPPROTO_TCP);
  memcpy(f.plain.bytes + 24, "\x12\x34\x56\x78", 4);
  narrow_sent(&f.narrow, SPI, &f.packet, f.plain.bytes);
  CHECK_EQUAL(told(&f, SPI, NUMBER, 28), COUNTER_TOO_BIG_TOLD);
  CHECK_EQUAL(f.made, 20 + 8 + 20 + 8);
  CHECK(memcmp(f.out + 48, f.plain.bytes + 20, 8) == 0);
  tear_down(&f);
}

static void test_forged(void) {
  struct fixture f;
  set_up(&f, 4, IPPROTO_UDP);
  CHECK_EQUAL(told(&f, SPI + 1, NUMBER, 60), COUNTER_TOO_BIG_OTHER);
  CHECK_EQUAL(told(&f, SPI, NUMBER + 1, 60), COUNTER_DROP_TOO_BIG_IMPLAUSIBLE);
  atomic_store(&f.association->sequence, 100000);
  CHECK_EQUAL(told(&f, SPI, 1, 60), COUNTER_DROP_TOO_BIG_IMPLAUSIBLE);
  CHECK_EQUAL(f.made, 0);
  CHECK_EQUAL(told(&f, SPI, 99000, 60), COUNTER_TOO_BIG_TOLD);
  int more = 0;
  while (more < 1000 && told(&f, SPI, 99000, 60) == COUNTER_TOO_BIG_TOLD) more++;
  CHECK(more > 10 && more < 200);
  CHECK_EQUAL(told(&f, SPI, 99000, 60), COUNTER_DROP_TOO_BIG_RATE);
  tear_down(&f);
}

/* Who floods with what is true of one flow leaves the others theirs. */
static void test_flood_of_another_flow(void) {
  struct fixture f;
  set_up(&f, 4, IPPROTO_UDP);
  while (told(&f, SPI, NUMBER, 60) == COUNTER_TOO_BIG_TOLD) continue;
  CHECK_EQUAL(told(&f, SPI, NUMBER, 60), COUNTER_DROP_TOO_BIG_RATE);
  struct association *other = mac_association(SPI + 1, 1, PROTECT_INSERT);
  atomic_store(&other->sequence, NUMBER);
  struct permission permission = {
      .allowed = ROOMY, .expires = f.now + 60 * MINUTE * NANOSECONDS_PER_SECOND, .notify_at = NO_THRESHOLD};
  struct authentication wanted = {.association = other};
  enum permit_result result;
  f.packet.key.source_port = htons(4001);
  engine_permit(f.engine, &f.packet.key, hash_of(&f), &permission, &wanted, &result);
  narrow_sent(&f.narrow, SPI + 1, &f.packet, f.plain.bytes);
  int more = 0;
  while (more < 100 && told(&f, SPI + 1, NUMBER, 60) == COUNTER_TOO_BIG_TOLD) more++;
  CHECK(more > 1 && more < 10);
  f.now += NANOSECONDS_PER_SECOND;
  while (told(&f, SPI, NUMBER, 60) == COUNTER_TOO_BIG_TOLD) continue;
  CHECK_EQUAL(told(&f, SPI + 1, NUMBER, 60), COUNTER_TOO_BIG_TOLD);
  tear_down(&f);
}

/* An IPv6 router quotes all that there is room for (RFC 4443 section 3.2), so the number has to be there. */
static void test_forged_ipv6(void) {
  struct fixture f;
  set_up(&f, 6, IPPROTO_UDP);
  CHECK_EQUAL(told(&f, SPI, NUMBER, 40 + 8), COUNTER_DROP_TOO_BIG_IMPLAUSIBLE);
  CHECK_EQUAL(told(&f, SPI, NUMBER, 40 + 12), COUNTER_TOO_BIG_TOLD);
  tear_down(&f);
}

/* A flow that is verified or stripped here is another's to send. */
static void test_not_the_sender(void) {
  struct fixture f;
  set_up(&f, 4, IPPROTO_UDP);
  engine_remove(f.engine, &f.packet.key, hash_of(&f));
  CHECK_EQUAL(told(&f, SPI, NUMBER, 60), COUNTER_DROP_TOO_BIG_IMPLAUSIBLE);
  CHECK(permit_flow(f.engine, 1, ROOMY, mac_association(SPI, 1, PROTECT_VERIFY), 0) == PERMIT_NEW);
  CHECK_EQUAL(told(&f, SPI, NUMBER, 60), COUNTER_DROP_TOO_BIG_IMPLAUSIBLE);
  tear_down(&f);
}

/* The kernel's own word for what it was told: were it news, each would be followed by a smaller one. */
static void test_no_spiral(void) {
  struct fixture f;
  set_up(&f, 4, IPPROTO_UDP);
  struct built wire = with_mac(&f.plain, SPI, 1, NUMBER), said = message_about(&wire, 60);
  memcpy(said.bytes + 12, said.bytes + 16, 4);
  CHECK_EQUAL(translate(&f, said.bytes, said.length), COUNTER_TOO_BIG_TOLD);
  CHECK_EQUAL(translate(&f, said.bytes, said.length), COUNTER_TOO_BIG_TOLD);
  put16(said.bytes + quote_at(&said) - 2, 1300 - ROOM);
  CHECK_EQUAL(translate(&f, said.bytes, said.length), COUNTER_DROP_TOO_BIG_MALFORMED);
  mend(&said);
  CHECK_EQUAL(translate(&f, said.bytes, said.length), COUNTER_DROP_TOO_BIG_IMPLAUSIBLE);
  put16(said.bytes + quote_at(&said) - 2, 1000); /* its link has become smaller */
  mend(&said);
  CHECK_EQUAL(translate(&f, said.bytes, said.length), COUNTER_TOO_BIG_TOLD);
  tear_down(&f);
}

static size_t fit(struct fixture *f, struct built *plain, uint32_t *emit) {
  struct packet packet = parsed_packet(plain);
  return narrow_fit(&f->narrow, AH_HMAC_SHA256_128, &packet, plain->bytes, f->now, emit, f->out);
}

/* A datagram without one would be given one behind AH, which covers it. */
static void test_identification(void) {
  struct fixture f;
  uint32_t emit = 0;
  set_up(&f, 4, IPPROTO_UDP);
  CHECK_EQUAL(told(&f, SPI, NUMBER, 60), COUNTER_TOO_BIG_TOLD);
  f.narrow.identification = UINT16_MAX - 1;
  for (int i = 0; i < 3; i++) {
    struct built small = plain_packet(4, IPPROTO_UDP, 100);
    memset(small.bytes + 4, 0, 2);
    CHECK_EQUAL(fit(&f, &small, &emit), 0);
    CHECK(emit != 0);
    CHECK(small.bytes[4] != 0 || small.bytes[5] != 0);
  }
  tear_down(&f);
}

static void test_fitting(int family, uint8_t protocol) {
  struct fixture f;
  uint32_t emit = 1;
  int header = (family == 4 ? 20 : 40) + (protocol == IPPROTO_TCP ? 20 : 8);
  int room = family == 4 ? ROOM : ROOM_IPV6;
  set_up(&f, family, protocol);
  struct built large = f.plain, fits = plain_packet(family, protocol, (size_t)(1400 - room - header));
  CHECK_EQUAL(fit(&f, &large, &emit), 0); /* nothing is known */
  CHECK_EQUAL(emit, 0);
  struct built wire = with_mac(&f.plain, SPI, 1, NUMBER), said = message_about(&wire, 120);
  put16(said.bytes + quote_at(&said) - 2, 1400);
  mend(&said);
  CHECK_EQUAL(translate(&f, said.bytes, said.length), COUNTER_TOO_BIG_TOLD);
  CHECK_EQUAL(fit(&f, &fits, &emit), 0);
  CHECK_EQUAL(emit, 1400);
  size_t answer = fit(&f, &large, &emit);
  CHECK_EQUAL(emit, 0);
  if (family == 6 && protocol == IPPROTO_UDP) {
    CHECK_EQUAL(answer, 0); /* the kernel cuts it */
  } else {
    struct too_big again;
    CHECK(answer > 0);
    CHECK_EQUAL(too_big_read(&again, f.out, answer), TOO_BIG_OTHER); /* not about AH, so it is not translated */
    CHECK_EQUAL(again.mtu, 1400 - room);
  }
  f.now += 11ULL * MINUTE * NANOSECONDS_PER_SECOND + 1;
  CHECK_EQUAL(fit(&f, &large, &emit), 0);
  CHECK_EQUAL(emit, 0);
  tear_down(&f);
}

/* Below what the kernel can be told IPv4 packets may be cut. */
static void test_too_narrow(void) {
  struct fixture f;
  uint32_t emit = 0;
  set_up(&f, 4, IPPROTO_TCP);
  struct built wire = with_mac(&f.plain, SPI, 1, NUMBER), said = message_about(&wire, 60), plain = f.plain;
  put16(said.bytes + quote_at(&said) - 2, 576);
  mend(&said);
  CHECK_EQUAL(translate(&f, said.bytes, said.length), COUNTER_TOO_BIG_TOLD);
  CHECK_EQUAL(fit(&f, &plain, &emit), 0);
  CHECK_EQUAL(emit, 0);
  CHECK_EQUAL(plain.bytes[6], 0);
  CHECK(plain.bytes[4] != 0 || plain.bytes[5] != 0);
  tear_down(&f);
}

static void test_fragments(void) {
  struct built plain = plain_packet(6, IPPROTO_UDP, 1270), wire = with_mac(&plain, SPI, 1, NUMBER);
  struct ah_place place;
  struct fragment one;
  size_t offset = 0, count = 0;
  uint8_t together[2048];
  CHECK_EQUAL(ah_find(&place, wire.bytes, wire.length), AH_OK);
  while (fragment_next(&one, wire.bytes, wire.length, place.at, place.next_field, 1300, 99, &offset)) {
    CHECK(one.length <= 1300 && one.bytes[6] == IPPROTO_FRAGMENT && one.bytes[40] == IPPROTO_AH);
    size_t at = (size_t)(one.bytes[42] << 8 | (one.bytes[43] & 0xf8));
    memcpy(together + at, one.bytes + 48, one.length - 48);
    CHECK_EQUAL(one.bytes[43] & 1, offset < wire.length - 40);
    count++;
  }
  CHECK_EQUAL(count, 2);
  CHECK_EQUAL(offset, wire.length - 40);
  CHECK(memcmp(together, wire.bytes + 40, wire.length - 40) == 0);
}

int main(void) {
  test_golden();
  test_rebuilt_tcp();
  test_forged();
  test_flood_of_another_flow();
  test_forged_ipv6();
  test_identification();
  test_not_the_sender();
  test_no_spiral();
  test_fitting(4, IPPROTO_UDP);
  test_fitting(4, IPPROTO_TCP);
  test_fitting(6, IPPROTO_UDP);
  test_fitting(6, IPPROTO_TCP);
  test_too_narrow();
  test_fragments();
  return CHECK_RESULT();
}
