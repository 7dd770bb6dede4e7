#include "notes.h"

#include <sys/mman.h>

enum { NOTES = 65536 };

static const uint64_t notes_bytes = NOTES * sizeof(struct note);

int notes_init(struct notes *n) {
  void *all = mmap(NULL, notes_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  n->note = all == MAP_FAILED ? NULL : all;
  return n->note ? 0 : -1;
}

void notes_destroy(struct notes *n) {
  if (n->note) munmap(n->note, notes_bytes);
  n->note = NULL;
}

/* SPIs are random numbers of the receivers. */
static struct note *at(const struct notes *n, uint32_t spi, const uint8_t *destination) {
  uint32_t last = 0;
  memcpy(&last, destination, sizeof last);
  return &n->note[(spi ^ (last * 0x9e3779b1u >> 16)) % NOTES];
}

static uint32_t read32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void notes_put(struct notes *n, uint32_t spi, const struct flow_key *key, const uint8_t *upper) {
  struct note *note = at(n, spi, key->destination);
  if (note->spi != spi || !flow_key_equal(&note->key, key)) *note = (struct note){.key = *key, .spi = spi};
  if (upper) note->tcp_sequence = read32(upper + 4);
}

const struct note *notes_find(const struct notes *n, uint32_t spi, uint8_t family, const uint8_t *source,
                              const uint8_t *destination) {
  const struct note *note = at(n, spi, destination);
  uint64_t length = family == 4 ? 4 : 16;
  int is_it = note->spi == spi && note->key.family == family && memcmp(note->key.source, source, length) == 0 &&
              memcmp(note->key.destination, destination, length) == 0;
  return is_it ? note : NULL;
}
