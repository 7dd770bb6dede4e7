/*
 * Sends one packet again and again, each time from another address: what a flood of Queries with forged sources looks
 * like. It knows nothing of GIST; where the address stands in the packet, and what else differs from one to the next, it
 * is told.
 *
 * usage: query-flood PACKETS_PER_SECOND SECONDS PACKET ADDRESSES RANDOMS
 *
 * PACKET     an IPv4 packet with UDP in hexadecimal digits; only its first byte of the source address stays
 * ADDRESSES  offsets at which the source address stands too, "54,70"
 * RANDOMS    offset:length of what is random, "40:16,92:16"
 *
 * Prints one JSON line: packets sent, packets that the kernel refused, seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, MAX_PACKET = 1500, MAX_PLACES = 16, IP_SOURCE = 12, IP_DESTINATION = 16, HEADERS = 28 };

struct place {
  unsigned at, length;
};

struct plan {
  uint8_t packet[MAX_PACKET];
  unsigned length;
  struct place addresses[MAX_PLACES], randoms[MAX_PLACES];
  unsigned address_count, random_count;
};

static void die(const char *what) {
  fprintf(stderr, "query-flood: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
  exit(1);
}

static unsigned read_packet(const char *text, uint8_t *packet) {
  size_t length = strlen(text) / 2;
  if (length < HEADERS || length > MAX_PACKET) die("PACKET");
  for (size_t i = 0; i < length; i++) {
    unsigned byte;
    if (sscanf(text + 2 * i, "%2x", &byte) != 1) die("PACKET");
    packet[i] = (uint8_t)byte;
  }
  return (unsigned)length;
}

static unsigned read_places(char *text, unsigned packet_length, unsigned default_length, struct place *places) {
  unsigned count = 0;
  for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
    struct place place = {0, default_length};
    if (count == MAX_PLACES || sscanf(word, "%u:%u", &place.at, &place.length) < 1) die("places");
    if (place.length > packet_length || place.at > packet_length - place.length) die("places");
    places[count++] = place;
  }
  return count;
}

static uint64_t random_state;

/* xorshift64: the receiver must not be able to tell one source from the next, nothing more. */
static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static uint32_t add_words(uint32_t sum, const uint8_t *bytes, unsigned length) {
  for (unsigned i = 0; i + 1 < length; i += 2) sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
  return length % 2 ? sum + (uint32_t)(bytes[length - 1] << 8) : sum;
}

static void set_udp_checksum(uint8_t *packet, unsigned length) {
  unsigned udp = (packet[0] & 15u) * 4, udp_length = length - udp;
  packet[udp + 6] = packet[udp + 7] = 0;
  uint32_t sum = add_words(add_words(IPPROTO_UDP + udp_length, packet + IP_SOURCE, 8), packet + udp, udp_length);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  uint16_t checksum = (uint16_t)~sum ? (uint16_t)~sum : 0xffff;
  packet[udp + 6] = (uint8_t)(checksum >> 8);
  packet[udp + 7] = (uint8_t)checksum;
}

static void make_packet(const struct plan *plan, uint8_t *packet) {
  uint64_t host = next_random();
  uint8_t address[4] = {plan->packet[IP_SOURCE], (uint8_t)(host >> 16), (uint8_t)(host >> 8), (uint8_t)host};
  memcpy(packet + IP_SOURCE, address, sizeof address);
  for (unsigned i = 0; i < plan->address_count; i++)
    memcpy(packet + plan->addresses[i].at, address, sizeof address);
  for (unsigned i = 0; i < plan->random_count; i++)
    for (unsigned j = 0; j < plan->randoms[i].length; j++)
      packet[plan->randoms[i].at + j] = (uint8_t)(next_random() >> 24);
  set_udp_checksum(packet, plan->length);
}

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct counts {
  uint64_t sent, refused;
};

static void send_batch(int descriptor, const struct plan *plan, struct counts *counts) {
  static uint8_t packets[BATCH][MAX_PACKET];
  struct sockaddr_in to = {.sin_family = AF_INET};
  struct iovec parts[BATCH];
  struct mmsghdr messages[BATCH];
  memcpy(&to.sin_addr, plan->packet + IP_DESTINATION, sizeof to.sin_addr);
  memset(messages, 0, sizeof messages);
  for (unsigned i = 0; i < BATCH; i++) {
    memcpy(packets[i], plan->packet, plan->length);
    make_packet(plan, packets[i]);
    parts[i] = (struct iovec){packets[i], plan->length};
    messages[i].msg_hdr = (struct msghdr){
        .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &parts[i], .msg_iovlen = 1};
  }
  int sent = sendmmsg(descriptor, messages, BATCH, 0);
  if (sent < 0 && errno != ENOBUFS && errno != EINTR) die("sending");
  counts->sent += sent < 0 ? 0 : (uint64_t)sent;
  counts->refused += BATCH - (sent < 0 ? 0 : (uint64_t)sent);
}

int main(int argc, char **argv) {
  static struct plan plan;
  if (argc != 6) {
    fprintf(stderr, "usage: %s PACKETS_PER_SECOND SECONDS PACKET ADDRESSES RANDOMS\n", argv[0]);
    return 2;
  }
  double rate = atof(argv[1]), duration = atof(argv[2]);
  if (rate <= 0 || rate > 1e6 || duration <= 0 || duration > 60) die("rate and duration");
  plan.length = read_packet(argv[3], plan.packet);
  plan.address_count = read_places(argv[4], plan.length, 4, plan.addresses);
  plan.random_count = read_places(argv[5], plan.length, 1, plan.randoms);
  int descriptor = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (descriptor < 0) die("a raw socket");

  struct counts counts = {0, 0};
  double start = seconds_now();
  random_state = (uint64_t)(start * 1e9) | 1;
  for (double now = start; now < start + duration; now = seconds_now()) {
    double ahead = start + (double)(counts.sent + counts.refused) / rate - now;
    if (ahead > 0) usleep((useconds_t)(ahead * 1e6) + 1);
    else send_batch(descriptor, &plan, &counts);
  }
  printf("{\"sent\":%llu,\"refused\":%llu,\"seconds\":%.3f}\n", (unsigned long long)counts.sent,
         (unsigned long long)counts.refused, seconds_now() - start);
  return 0;
}
