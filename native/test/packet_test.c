#include "../packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "build-packet.h"
#include "check.h"

enum { SYN = 0x02, ACK = 0x10 };

static const uint8_t MSS_1460[8] = {2, 4, 0x05, 0xb4, 1, 1, 4, 2};
static const uint8_t TIMESTAMPS[12] = {1, 1, 8, 10};

/* Parses a copy on the heap of exactly the captured length, so that the sanitizer sees every byte read too far. */
static enum packet_problem parse_part(struct packet *out, const struct built *b, size_t captured, size_t full,
                                      int offloaded) {
  uint8_t *copy = malloc(captured == 0 ? 1 : captured);
  memcpy(copy, b->bytes, captured);
  enum packet_problem problem = packet_parse(out, copy, captured, full, offloaded);
  free(copy);
  return problem;
}

static enum packet_problem parse(struct packet *out, const struct built *b) {
  return parse_part(out, b, b->length, b->length, 0);
}

static void test_udp4(void) {
  struct built b;
  struct packet p;
  const uint8_t source[16] = {192, 168, 20, 1}, destination[16] = {192, 168, 21, 4};
  begin4(&b, IPPROTO_UDP, 0);
  put_udp(&b, 100);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK(memcmp(p.key.source, source, 16) == 0);
  CHECK(memcmp(p.key.destination, destination, 16) == 0);
  CHECK_EQUAL(ntohs(p.key.source_port), 4000);
  CHECK_EQUAL(ntohs(p.key.destination_port), 80);
  CHECK_EQUAL(p.key.protocol, IPPROTO_UDP);
  CHECK_EQUAL(p.key.family, 4);
  CHECK_EQUAL(p.length, 128);
  CHECK_EQUAL(packet_wire_bytes(&p, packet_segments(&p, 0)), 128);
}

static void test_options4(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_UDP, 10);
  put_udp(&b, 4);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.ip_header, 60);
  CHECK_EQUAL(ntohs(p.key.destination_port), 80);
}

/* Link padding behind the datagram is not part of it. */
static void test_padding(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_UDP, 0);
  put_udp(&b, 1);
  finish(&b);
  put_zeros(&b, 17);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.length, 29);
}

static void test_tcp(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_TCP, 0);
  put_tcp(&b, SYN, MSS_1460, 8, 0);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.mss, 1460);
  CHECK_EQUAL(p.header, 48);
  b.bytes[33] = ACK; /* the option means something in a SYN only */
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.mss, 0);
}

static void test_broken_tcp_options(void) {
  const uint8_t broken[][4] = {{2, 0, 5, 180}, {2, 40, 5, 180}, {2, 3, 5, 180}, {8}, {0, 2, 4, 5}, {1, 1, 1, 2}};
  struct built b;
  struct packet p;
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    begin4(&b, IPPROTO_TCP, 0);
    put_tcp(&b, SYN, broken[i], 4, 0);
    finish(&b);
    CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
    CHECK_EQUAL(p.mss, 0);
  }
}

static void test_udp6(void) {
  struct built b;
  struct packet p;
  begin6(&b, IPPROTO_UDP);
  put_udp(&b, 60);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.key.family, 6);
  CHECK_EQUAL(p.key.source[0], 0xfd);
  CHECK_EQUAL(p.key.destination[15], 2);
  CHECK_EQUAL(p.length, 108);
}

static void test_extensions6(void) {
  struct built b;
  struct packet p;
  begin6(&b, IPPROTO_HOPOPTS);
  put_extension(&b, IPPROTO_DSTOPTS, 1);
  put_extension(&b, IPPROTO_ROUTING, 2);
  put_extension(&b, IPPROTO_UDP, 3);
  put_udp(&b, 0);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.ip_header, 88);
  CHECK_EQUAL(ntohs(p.key.source_port), 4000);
}

static void test_too_many_extensions(void) {
  struct built b;
  struct packet p;
  begin6(&b, IPPROTO_DSTOPTS);
  for (int i = 0; i < 9; i++) put_extension(&b, i == 8 ? IPPROTO_UDP : IPPROTO_DSTOPTS, 1);
  put_udp(&b, 0);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_HEADERS_TOO_LONG);
}

static void test_echo(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_ICMP, 0);
  put_zeros(&b, 64);
  finish(&b);
  for (int type = 0; type < 256; type++) {
    b.bytes[20] = (uint8_t)type;
    CHECK_EQUAL(parse(&p, &b), type == 0 || type == 8 ? PACKET_FINE : PACKET_NOT_A_FLOW);
  }
  begin6(&b, IPPROTO_ICMPV6);
  put_zeros(&b, 64);
  finish(&b);
  for (int type = 0; type < 256; type++) {
    b.bytes[40] = (uint8_t)type;
    CHECK_EQUAL(parse(&p, &b), type == 128 || type == 129 ? PACKET_FINE : PACKET_NOT_A_FLOW);
  }
}

/* ICMP of the other family is nobody's echo. */
static void test_crossed_icmp(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_ICMPV6, 0);
  put_zeros(&b, 8);
  b.bytes[20] = 128;
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_NOT_A_FLOW);
  begin6(&b, IPPROTO_ICMP);
  put_zeros(&b, 8);
  b.bytes[40] = 8;
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_NOT_A_FLOW);
}

static void test_other_protocol(void) {
  struct built b;
  struct packet p;
  begin4(&b, 47, 0);
  put_zeros(&b, 4);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.key.protocol, 47);
  CHECK_EQUAL(p.key.source_port, 0);
  CHECK_EQUAL(p.key.destination_port, 0);
}

static void test_fragments(void) {
  const unsigned fields[] = {0x2000, 0x0001, 0x1fff, 0x2001};
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_UDP, 0);
  put_udp(&b, 8);
  finish(&b);
  for (size_t i = 0; i < 4; i++) {
    put16(b.bytes + 6, fields[i]);
    CHECK_EQUAL(parse(&p, &b), PACKET_FRAGMENT);
  }
  put16(b.bytes + 6, 0x4000); /* don't fragment */
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  begin6(&b, IPPROTO_HOPOPTS);
  put_extension(&b, IPPROTO_FRAGMENT, 1);
  put_extension(&b, IPPROTO_UDP, 1);
  put_udp(&b, 8);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FRAGMENT);
}

static void test_malformed(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_UDP, 0);
  put_udp(&b, 8);
  finish(&b);
  put16(b.bytes + 2, 19);
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
  put16(b.bytes + 2, (unsigned)b.length + 1);
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
  put16(b.bytes + 2, 27);
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED); /* ends inside the UDP header */
  finish(&b);
  b.bytes[0] = 0x44;
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
  b.bytes[0] = 0x55;
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
  begin4(&b, IPPROTO_TCP, 0);
  put_tcp(&b, 0, NULL, 0, 0);
  finish(&b);
  b.bytes[32] = 0x40;
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
  b.bytes[32] = 0x60;
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
}

/* Every shorter capture of a long header chain is refused, and no capture reads beyond its end. */
static void test_every_capture(void) {
  struct built b;
  struct packet p;
  begin6(&b, IPPROTO_HOPOPTS);
  put_extension(&b, IPPROTO_TCP, 2);
  put_tcp(&b, SYN, MSS_1460, 8, 500);
  finish(&b);
  const size_t headers = 40 + 16 + 28;
  for (size_t captured = 0; captured < b.length; captured++) {
    enum packet_problem problem = parse_part(&p, &b, captured, b.length, 0);
    if (captured == 0) CHECK_EQUAL(problem, PACKET_MALFORMED);
    else CHECK_EQUAL(problem, captured < headers ? PACKET_HEADERS_TOO_LONG : PACKET_FINE);
  }
}

static void tcp_super_packet(struct packet *out, size_t full) {
  struct built b;
  begin4(&b, IPPROTO_TCP, 0);
  put_tcp(&b, ACK, TIMESTAMPS, 12, 100);
  finish(&b);
  put16(b.bytes + 2, full > 65535 ? 0 : (unsigned)full);
  CHECK_EQUAL(parse_part(out, &b, b.length, full, 1), PACKET_FINE);
}

static void test_super_packets(void) {
  struct packet p;
  tcp_super_packet(&p, 52 + 10 * 1448);
  CHECK_EQUAL(packet_segments(&p, 1460), 10);
  CHECK_EQUAL(packet_wire_bytes(&p, 10), 10 * 1500);
  CHECK_EQUAL(packet_segments(&p, 0), 10);     /* unknown: Ethernet's */
  CHECK_EQUAL(packet_segments(&p, 8960), 10);  /* above the default MTU nothing is believed */
  CHECK_EQUAL(packet_segments(&p, 1012), 15);  /* 14480 / 1000, rounded up */
  CHECK_EQUAL(packet_wire_bytes(&p, 15), 14480 + 15 * 52);
  CHECK_EQUAL(packet_segments(&p, 1), 1810);   /* nonsense is bounded */
  tcp_super_packet(&p, 52 + 10 * 1448 + 1);
  CHECK_EQUAL(packet_segments(&p, 1460), 11);
  tcp_super_packet(&p, 180000); /* larger than the length field can say */
  CHECK_EQUAL(p.length, 180000);
  CHECK_EQUAL(packet_segments(&p, 1460), 125);
}

static void test_udp_super_packet(void) {
  struct built b;
  struct packet p;
  begin6(&b, IPPROTO_UDP);
  put_udp(&b, 100);
  finish(&b);
  put16(b.bytes + 4, 8 + 14520);
  CHECK_EQUAL(parse_part(&p, &b, b.length, 48 + 14520, 1), PACKET_FINE);
  CHECK_EQUAL(packet_segments(&p, 536), 10); /* an MSS is nothing to UDP */
}

/* The flow is that of the packet without AH. */
static void test_authenticated(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_AH, 1);
  put_ah(&b, IPPROTO_UDP, 16);
  put_udp(&b, 4);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.key.protocol, IPPROTO_UDP);
  CHECK_EQUAL(ntohs(p.key.destination_port), 80);
  CHECK_EQUAL(p.ah, 24);
  CHECK_EQUAL(p.ah_length, 28);
  CHECK_EQUAL(p.ip_header, 52);
  CHECK_EQUAL(p.spi, 0x01020304);
  CHECK_EQUAL(p.sequence, 7);
  for (size_t captured = 0; captured < 60; captured++)
    CHECK(parse_part(&p, &b, captured, b.length, 0) != PACKET_FINE);

  begin6(&b, IPPROTO_HOPOPTS);
  put_extension(&b, IPPROTO_AH, 1);
  put_ah(&b, IPPROTO_DSTOPTS, 20);
  put_extension(&b, IPPROTO_UDP, 1);
  put_udp(&b, 0);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_FINE);
  CHECK_EQUAL(p.ah, 48);
  CHECK_EQUAL(p.ip_header, 88);
  CHECK_EQUAL(ntohs(p.key.source_port), 4000);
}

static void test_broken_ah(void) {
  struct built b;
  struct packet p;
  begin4(&b, IPPROTO_AH, 0);
  put_ah(&b, IPPROTO_AH, 16);
  put_ah(&b, IPPROTO_UDP, 16);
  put_udp(&b, 4);
  finish(&b);
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED); /* twice */
  begin4(&b, IPPROTO_AH, 0);
  put_ah(&b, IPPROTO_UDP, 16);
  put_udp(&b, 4);
  finish(&b);
  b.bytes[21] = 0; /* shorter than its fixed part */
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
  b.bytes[21] = 255; /* longer than the datagram */
  CHECK_EQUAL(parse(&p, &b), PACKET_MALFORMED);
}

int main(void) {
  test_udp4();
  test_options4();
  test_padding();
  test_tcp();
  test_broken_tcp_options();
  test_udp6();
  test_extensions6();
  test_too_many_extensions();
  test_echo();
  test_crossed_icmp();
  test_other_protocol();
  test_fragments();
  test_malformed();
  test_every_capture();
  test_super_packets();
  test_udp_super_packet();
  test_authenticated();
  test_broken_ah();
  return CHECK_RESULT();
}
