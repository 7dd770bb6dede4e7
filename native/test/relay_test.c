/* What goes through a relay, and how much of a path is left for it. With privileges also a device, and packets out of it. */
#include "../relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "check.h"

enum { PORT = 6080, WAIT_MS = 5000 };

static void packets_are_told_by_their_first_byte(void) {
  uint8_t bytes[40] = {0x45};
  CHECK(relay_is_packet(bytes, 20));
  CHECK(!relay_is_packet(bytes, 19));
  CHECK(!relay_is_packet(bytes, 0));
  bytes[0] = 0x60;
  CHECK(relay_is_packet(bytes, 40));
  CHECK(!relay_is_packet(bytes, 39));
  for (int version = 0; version < 16; version++) {
    bytes[0] = (uint8_t)(version << 4);
    CHECK_EQUAL(relay_is_packet(bytes, sizeof bytes), version == 4 || version == 6);
  }
}

static void room_is_what_the_headers_leave(void) {
  CHECK_EQUAL(relay_room(AF_INET, 1500), 1472);
  CHECK_EQUAL(relay_room(AF_INET6, 1500), 1452);
  CHECK_EQUAL(relay_room(AF_INET, 1308), 1280);
  CHECK_EQUAL(relay_room(AF_INET, 1307), RELAY_LEAST_MTU);
  CHECK_EQUAL(relay_room(AF_INET6, 0), RELAY_LEAST_MTU);
  CHECK_EQUAL(relay_room(AF_INET, 65535), RELAY_PACKET_BYTES);
  CHECK_EQUAL(relay_room(AF_INET, UINT32_MAX), RELAY_PACKET_BYTES);
}

/* A relay in a namespace of its own, with datagrams from this program. */
static void what_comes_out_is_counted(void) {
  struct relay_options serve = {.device = "relay-test", .port = PORT};
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  uint8_t good[20] = {0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17}, bad[20] = {0x15}, large[RELAY_PACKET_BYTES + 1] = {0x45};
  struct relay *relay = relay_open(&serve);
  CHECK(relay != NULL);
  if (!relay) return;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const struct { const uint8_t *bytes; size_t length; } sent[] = {{good, sizeof good}, {bad, sizeof bad}, {large, sizeof large}, {good, 0}};
  for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
    CHECK_EQUAL(sendto(fd, sent[i].bytes, sent[i].length, 0, (struct sockaddr *)&to, sizeof to), sent[i].length);
  for (int waited = 0; waited < WAIT_MS && relay_count(relay, RELAY_MALFORMED) + relay_count(relay, RELAY_PACKETS) < 4; waited++)
    poll(NULL, 0, 1);
  CHECK_EQUAL(relay_count(relay, RELAY_PACKETS), 1);
  CHECK_EQUAL(relay_count(relay, RELAY_MALFORMED), 3);
  CHECK(if_nametoindex("relay-test") != 0);
  struct relay_options same = {.device = "relay-other", .port = PORT};
  CHECK(relay_open(&same) == NULL);
  CHECK_EQUAL(errno, EADDRINUSE);
  CHECK(if_nametoindex("relay-other") == 0);
  relay_close(relay);
  CHECK(if_nametoindex("relay-test") == 0);
  close(fd);
}

static int have_own_network(void) {
  if (unshare(CLONE_NEWNET) < 0) return 0;
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  if (fd >= 0) close(fd);
  return up && access("/dev/net/tun", W_OK) == 0;
}

int main(void) {
  packets_are_told_by_their_first_byte();
  room_is_what_the_headers_leave();
  if (have_own_network()) what_comes_out_is_counted();
  return CHECK_RESULT();
}
