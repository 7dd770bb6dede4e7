/*
 * Fuzz target for messages that say that a packet was too big: nothing is read beyond the bytes given, and what is read
 * lies within them; what is written from it can be read again by who looks at it as a plain one.
 */
#include "../too-big.h"

#include <stdlib.h>

#include "check.h"

static int lies_within(const uint8_t *p, size_t count, const uint8_t *data, size_t size) {
  return p >= data && p + count <= data + size;
}

static void check_read(const struct too_big *t, const uint8_t *data, size_t size) {
  size_t address = t->family == 4 ? 4 : 16;
  if (!lies_within(t->router, address, data, size) || !lies_within(t->source, address, data, size)) abort();
  if (!lies_within(t->destination, address, data, size)) abort();
  if (t->inner_length > 0 && !lies_within(t->inner, t->inner_length, data, size)) abort();
  if (t->mtu >= t->length || t->mtu < TOO_BIG_LEAST_IPV4 || t->ah_length >= t->length) abort();
}

static void check_written(const struct too_big *t) {
  static const uint8_t nothing[TOO_BIG_INNER_LEAST];
  int whole = t->inner_length >= TOO_BIG_INNER_LEAST;
  struct too_big_notice notice = {
      .family = t->family,
      .protocol = 17,
      .from = t->router,
      .to = t->source,
      .destination = t->destination,
      .length = t->length - t->ah_length,
      .mtu = (uint16_t)t->mtu,
      .inner = whole ? t->inner : nothing,
      .inner_length = whole ? t->inner_length : sizeof nothing,
  };
  uint8_t *out = malloc(TOO_BIG_MAX);
  struct too_big again;
  size_t length = too_big_write(out, &notice);
  if (length > TOO_BIG_MAX || too_big_read(&again, out, length) != TOO_BIG_OTHER) abort();
  free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct too_big t;
  if (too_big_read(&t, data, size) != TOO_BIG_OK) return 0;
  check_read(&t, data, size);
  check_written(&t);
  return 0;
}

#ifdef WITH_DRIVER
#include "too-big-samples.h"

enum { ROUNDS = 300000 };

/* Good messages with some bytes changed or cut off; the checksum is mended half of the time, so that more is looked at. */
int main(void) {
  srandom(1);
  for (int round = 0; round < ROUNDS; round++) {
    struct built b = sample(round % 2 ? 4 : 6, (size_t)(random() % 100));
    for (int i = (int)(random() % 4); i > 0; i--) b.bytes[(size_t)random() % b.length] = (uint8_t)random();
    if (random() % 2) mend(&b);
    if (random() % 4 == 0) b.length = (size_t)random() % (b.length + 1);
    uint8_t *exact = malloc(b.length);
    memcpy(exact, b.bytes, b.length);
    LLVMFuzzerTestOneInput(exact, b.length);
    free(exact);
  }
  return CHECK_RESULT();
}
#endif
