/*
 * Offers packets with AH to a veth, as generator.c does plain ones.
 *
 * usage: ah-generator OBJECT IFNAME FRAME PROOFS [PACKETS_PER_SECOND]
 *
 * FRAME is a file with an Ethernet frame, PROOFS one with sequence numbers and ICVs, 20 bytes each, all of which are sent
 * once. Prints one JSON line.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "ah-generator.h"

enum { MAX_FRAME = 2048, IP_SUM_AT = 14 + 10, BATCH = 64 };

static void die(const char *what) {
  fprintf(stderr, "ah-generator: %s: %s\n", what, strerror(errno));
  exit(1);
}

static size_t read_file(const char *name, void *out, size_t room) {
  FILE *file = fopen(name, "rb");
  size_t length = file ? fread(out, 1, room, file) : 0;
  if (!file || length == 0) die(name);
  fclose(file);
  return length;
}

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fill_template(struct bpf_object *object, unsigned interface, const uint8_t *frame, double rate) {
  struct bpf_map *map;
  size_t size;
  bpf_object__for_each_map(map, object) {
    if (!bpf_map__is_internal(map)) continue;
    struct template *t = (void *)(uintptr_t)bpf_map__initial_value(map, &size);
    if (!t || size < sizeof *t) die("the program's constants");
    t->interface = interface;
    t->interval = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    memcpy(&t->sum, frame + IP_SUM_AT, sizeof t->sum);
    memcpy(t->destination, frame, sizeof t->destination);
  }
}

static void fill_proofs(int map, const char *name, uint32_t count) {
  size_t place = (sizeof(struct proof) + 7) & ~(size_t)7, bytes = count * place;
  uint8_t *places = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
  struct proof *all = calloc(count, sizeof *all);
  if (places == MAP_FAILED || !all) die("memory");
  read_file(name, all, count * sizeof *all);
  for (uint32_t i = 0; i < count; i++) memcpy(places + i * place, &all[i], sizeof *all);
  free(all);
  munmap(places, bytes);
}

static uint32_t count_proofs(const char *name) {
  FILE *file = fopen(name, "rb");
  if (!file || fseek(file, 0, SEEK_END) < 0) die(name);
  long bytes = ftell(file);
  fclose(file);
  return (uint32_t)((size_t)bytes / sizeof(struct proof));
}

/* The program keeps to the rate. */
static void offer(int program, const uint8_t *frame, size_t length, uint32_t count) {
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = (uint32_t)length, .repeat = (int)count,
              .batch_size = BATCH, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
  double start = seconds_now();
  if (bpf_prog_test_run_opts(program, &options) < 0) die("BPF_PROG_TEST_RUN");
  double took = seconds_now() - start;
  printf("{\"sent\":%u,\"seconds\":%.3f,\"perSecond\":%.0f}\n", count, took, (double)count / took);
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: %s OBJECT IFNAME FRAME PROOFS [PACKETS_PER_SECOND]\n", argv[0]);
    return 2;
  }
  static uint8_t frame[MAX_FRAME];
  size_t length = read_file(argv[3], frame, sizeof frame);
  uint32_t count = count_proofs(argv[4]);
  unsigned interface = if_nametoindex(argv[2]);
  struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
  if (!object || !interface || length < AH_AT + AH_BYTES) die("arguments");
  struct bpf_map *proofs = bpf_object__find_map_by_name(object, "proofs");
  fill_template(object, interface, frame, argc > 5 ? atof(argv[5]) : 0);
  if (bpf_map__set_max_entries(proofs, count) < 0 || bpf_object__load(object) < 0) die("loading the XDP program");
  fill_proofs(bpf_map__fd(proofs), argv[4], count);
  offer(bpf_program__fd(bpf_object__find_program_by_name(object, "send")), frame, length, count);
  bpf_object__close(object);
  return 0;
}
