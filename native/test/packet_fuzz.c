/*
 * The parser against anything: built by clang with -fsanitize=fuzzer, or with its own driver (-DWITH_DRIVER), which
 * takes how many inputs to try and mutates well-formed packets at random.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "../packet.h"
#include "build-packet.h"

static void require(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "packet_fuzz: not so: %s\n", what);
  abort();
}

/* The first byte of the input says how the rest is given: offloaded or not, and how much longer the packet is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct packet p;
  if (size < 1) return 0;
  int offloaded = data[0] & 1;
  size_t captured = size - 1, full = captured + (size_t)(data[0] >> 1) * 512;
  enum packet_problem problem = packet_parse(&p, data + 1, captured, full, offloaded);
  if (problem != PACKET_FINE) return 0;
  require(p.length <= full, "a packet is no longer than it is");
  require(p.ip_header <= p.header && p.header <= p.length, "headers are part of the packet");
  require(p.header <= captured, "headers were all seen");
  require(p.key.family == 4 || p.key.family == 6, "there are two families");
  uint32_t segments = packet_segments(&p, p.mss);
  require(segments >= 1 && segments <= p.length, "no segment without payload but the only one");
  require(packet_wire_bytes(&p, segments) >= p.length, "the wire carries no less than the packet");
  return 0;
}

#ifdef WITH_DRIVER
#include "pick.h"

enum { ROUNDS_DEFAULT = 300000, MUTATIONS = 6 };

static void make_seed(struct built *b) {
  static const uint8_t mss[4] = {2, 4, 5, 180};
  const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, 47};
  uint8_t protocol = protocols[pick(5)];
  if (pick(2)) {
    begin4(b, protocol, pick(11));
  } else {
    unsigned extensions = pick(4);
    begin6(b, extensions ? IPPROTO_DSTOPTS : protocol);
    while (extensions--) put_extension(b, extensions ? IPPROTO_HOPOPTS : protocol, 1 + pick(4));
  }
  if (protocol == IPPROTO_TCP) put_tcp(b, 2, mss, 4, pick(200));
  else put_udp(b, pick(200));
  finish(b);
}

static void try_one(void) {
  struct built b;
  make_seed(&b);
  for (uint32_t i = pick(MUTATIONS + 1); i > 0; i--) b.bytes[pick((uint32_t)b.length)] = (uint8_t)pick(256);
  size_t length = pick(3) ? b.length : pick((uint32_t)b.length + 1);
  uint8_t *input = malloc(length + 1);
  input[0] = pick(2) ? 0 : (uint8_t)pick(256);
  memcpy(input + 1, b.bytes, length);
  LLVMFuzzerTestOneInput(input, length + 1);
  free(input);
}

int main(int argc, char **argv) {
  long rounds = argc > 1 ? atol(argv[1]) : ROUNDS_DEFAULT;
  for (long i = 0; i < rounds; i++) try_one();
  return 0;
}
#endif
