/*
 * Offers a flood of small UDP packets to a veth without paying for it on the other side: an XDP program runs over
 * "live frames" (BPF_PROG_TEST_RUN, Linux 5.18 and newer) and redirects each into the interface. Millions of packets a
 * second come from one core, and the host behind the veth pays only for its own receive path.
 *
 * usage: generator IFNAME DST_MAC SRC_ADDRESS DST_ADDRESS SIZE FLOWS SECONDS [PACKETS_PER_SECOND]
 *
 * SIZE is the length of the IPv4 packet. Flow i of FLOWS has source address SRC_ADDRESS with its low 16 bits replaced by
 * i mod 65536, source port 4000 and destination port 5000 + i / 65536. The IP ID is chosen so that the header
 * checksum is the same for all, which keeps the program free of checksum code. Prints one JSON line.
 *
 * At a given rate the program waits for each packet's turn, and packets leave by EVEN_BATCH: a burst would fill the ring of the
 * interface, and most of it be lost there.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ETH 14
#define IDENT (ETH + 4)
#define TTL (ETH + 8)
#define HEADER_SUM (ETH + 10)
#define SOURCE_LOW (ETH + 14)
#define UDP_PORTS (ETH + 20)
#define BASE_PORT 5000
#define BATCH 64
#define EVEN_BATCH 8
#define MOST_LOOKS 2000
#define MOST_INSTRUCTIONS 64
#define CALL_SECONDS 0.25 /* each call has some start-up cost */
/* Later than this is not caught up with. */
#define LATE_NANOSECONDS 1000000

#define INSN(c, d, s, o, i) ((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define MOV(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_IMM(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ALU_IMM(op, d, i) INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define ALU(op, d, s) INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define LOAD_W(d, s, o) INSN(BPF_LDX | BPF_MEM | BPF_W, d, s, o, 0)
#define LOAD_DW(d, s, o) INSN(BPF_LDX | BPF_MEM | BPF_DW, d, s, o, 0)
#define STORE_DW(d, s, o) INSN(BPF_STX | BPF_MEM | BPF_DW, d, s, o, 0)
#define STORE_H(d, s, o) INSN(BPF_STX | BPF_MEM | BPF_H, d, s, o, 0)
#define STORE_IMM(size, d, o, i) INSN(BPF_ST | BPF_MEM | (size), d, 0, o, (int)(i))
#define TO_BE16(d) INSN(BPF_ALU | BPF_END | BPF_TO_BE, d, 0, 0, 16)
#define CALL(f) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static int bpf(int command, union bpf_attr *attr) { return (int)syscall(__NR_bpf, command, attr, sizeof *attr); }

static void die(const char *what) {
  fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int make_clock(void) {
  struct timespec now;
  uint32_t zero = 0;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t turn = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
  union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = sizeof turn, .max_entries = 1};
  int map = bpf(BPF_MAP_CREATE, &attr);
  union bpf_attr element = {
      .map_fd = (uint32_t)map, .key = (uint64_t)(uintptr_t)&zero, .value = (uint64_t)(uintptr_t)&turn};
  if (map < 0 || bpf(BPF_MAP_UPDATE_ELEM, &element) < 0) die("the clock's map");
  return map;
}

/* Waits until it is time for the next packet; what needs no context, and keeps it in r1. Returns how many instructions. */
static unsigned put_wait(struct bpf_insn *at, double rate) {
  const struct bpf_insn wait[] = {
      MOV(6, 1),
      INSN(BPF_LD | BPF_IMM | BPF_DW, 9, BPF_PSEUDO_MAP_VALUE, 0, make_clock()),
      INSN(0, 0, 0, 0, 0),
      MOV_IMM(8, MOST_LOOKS),
      CALL(BPF_FUNC_ktime_get_ns),
      LOAD_DW(1, 9, 0), /* r1 = its turn */
      INSN(BPF_JMP | BPF_JGE | BPF_X, 0, 1, 2, 0),
      ALU_IMM(BPF_SUB, 8, 1),
      INSN(BPF_JMP | BPF_JNE | BPF_K, 8, 0, -5, 0),
      MOV(2, 1),
      ALU_IMM(BPF_ADD, 2, LATE_NANOSECONDS),
      INSN(BPF_JMP | BPF_JGE | BPF_X, 2, 0, 1, 0),
      MOV(1, 0),
      ALU_IMM(BPF_ADD, 1, (int)(1e9 / rate)),
      STORE_DW(9, 1, 0),
      MOV(1, 6),
  };
  memcpy(at, wait, sizeof wait);
  return sizeof wait / sizeof *wait;
}

/* Pages are used again with what the router wrote into them, so whatever a router changes is restored each time. */
static int load_program(unsigned interface, unsigned flows, double rate, const uint8_t *packet) {
  uint32_t mac_high;
  uint16_t mac_low, sum;
  memcpy(&mac_high, packet, 4);
  memcpy(&mac_low, packet + 4, 2);
  memcpy(&sum, packet + HEADER_SUM, 2);
  const struct bpf_insn program[] = {
      LOAD_W(6, 1, 0), /* data */
      LOAD_W(7, 1, 4), /* data_end */
      MOV(8, 6),
      ALU_IMM(BPF_ADD, 8, UDP_PORTS + 4),
      INSN(BPF_JMP | BPF_JGT | BPF_X, 8, 7, 19, 0), /* too short: leave it as it is */
      STORE_IMM(BPF_W, 6, 0, mac_high),
      STORE_IMM(BPF_H, 6, 4, mac_low),
      STORE_IMM(BPF_B, 6, TTL, 64),
      STORE_IMM(BPF_H, 6, HEADER_SUM, sum),
      CALL(BPF_FUNC_get_prandom_u32),
      INSN(BPF_ALU | BPF_MOD | BPF_K, 0, 0, 0, (int)flows), /* r0 = flow */
      MOV(1, 0),
      ALU_IMM(BPF_AND, 1, 0xffff),
      MOV_IMM(2, 0xffff),
      ALU(BPF_SUB, 2, 1), /* the complement, so that the sum stays */
      TO_BE16(1),
      TO_BE16(2),
      STORE_H(6, 1, SOURCE_LOW),
      STORE_H(6, 2, IDENT),
      ALU_IMM(BPF_RSH, 0, 16),
      ALU_IMM(BPF_ADD, 0, BASE_PORT),
      TO_BE16(0),
      STORE_H(6, 0, UDP_PORTS + 2),
      MOV_IMM(0, 0),
      MOV_IMM(1, (int)interface),
      MOV_IMM(2, 0),
      CALL(BPF_FUNC_redirect),
      EXIT,
  };
  struct bpf_insn whole[MOST_INSTRUCTIONS];
  unsigned waits = rate > 0 ? put_wait(whole, rate) : 0;
  memcpy(whole + waits, program, sizeof program);
  union bpf_attr attr = {
      .prog_type = BPF_PROG_TYPE_XDP,
      .insns = (uint64_t)(uintptr_t)whole,
      .insn_cnt = waits + sizeof program / sizeof *program,
      .license = (uint64_t)(uintptr_t) "GPL",
  };
  int fd = bpf(BPF_PROG_LOAD, &attr);
  if (fd < 0) die("loading the XDP program");
  return fd;
}

static uint16_t checksum(const uint8_t *header, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i < length; i += 2) sum += (uint32_t)(header[i] << 8 | header[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static size_t build_packet(uint8_t *packet, char **argv, unsigned size) {
  struct ether_addr *mac = ether_aton(argv[2]);
  if (!mac) die("DST_MAC");
  memcpy(packet, mac, 6);
  packet[6] = 2; /* a locally administered source address */
  put16(packet + 12, 0x0800);
  uint8_t *ip = packet + ETH;
  ip[0] = 0x45;
  put16(ip + 2, size);
  put16(ip + 4, 0xffff);
  ip[6] = 0x40; /* DF */
  ip[8] = 64;
  ip[9] = 17;
  if (inet_pton(AF_INET, argv[3], ip + 12) != 1 || inet_pton(AF_INET, argv[4], ip + 16) != 1) die("address");
  ip[14] = ip[15] = 0;
  put16(ip + 10, checksum(ip, 20));
  put16(ip + 20, 4000);
  put16(ip + 22, BASE_PORT);
  put16(ip + 24, size - 20);
  return ETH + size;
}

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc < 8) {
    fprintf(stderr, "usage: %s IFNAME DST_MAC SRC DST SIZE FLOWS SECONDS [PACKETS_PER_SECOND]\n", argv[0]);
    return 2;
  }
  unsigned interface = if_nametoindex(argv[1]), size = (unsigned)atoi(argv[5]), flows = (unsigned)atoi(argv[6]);
  double duration = atof(argv[7]), rate = argc > 8 ? atof(argv[8]) : 0;
  if (!interface || size < 28 || size > 1500 || !flows || duration <= 0 || duration > 600) die("arguments");

  static uint8_t packet[2048];
  size_t length = build_packet(packet, argv, size);
  int program = load_program(interface, flows, rate, packet);
  uint64_t sent = 0;
  double start = seconds_now(), end = start + duration;
  const uint32_t chunk = rate > 0 ? (uint32_t)(rate * CALL_SECONDS) + 1 : 1 << 20;
  while (seconds_now() < end) {
    union bpf_attr attr = {.test = {.prog_fd = (uint32_t)program,
                                    .data_in = (uint64_t)(uintptr_t)packet,
                                    .data_size_in = (uint32_t)length,
                                    .repeat = chunk,
                                    .batch_size = rate > 0 ? EVEN_BATCH : BATCH,
                                    .flags = BPF_F_TEST_XDP_LIVE_FRAMES}};
    if (bpf(BPF_PROG_TEST_RUN, &attr) < 0 && errno != EINTR) die("BPF_PROG_TEST_RUN");
    sent += chunk;
  }
  double took = seconds_now() - start;
  printf("{\"sent\":%llu,\"seconds\":%.3f,\"perSecond\":%.0f}\n", (unsigned long long)sent, took, (double)sent / took);
  return 0;
}
