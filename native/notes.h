/*
 * Which flow a security association of this sender is for: by SPI and addresses, for messages about its packets that quote
 * little more. A fixed number of places; of two flows with the same place the last one to send has it. Of one thread.
 */
#ifndef PBS_NOTES_H
#define PBS_NOTES_H

#include <stdint.h>

#include "flow.h"

struct note {
  struct flow_key key;
  uint32_t spi; /* 0: none */
  uint32_t tcp_sequence; /* of the last segment */
};

struct notes {
  struct note *note;
};

/* 0 or -1 with errno. */
int notes_init(struct notes *notes);
void notes_destroy(struct notes *notes);

/* A packet of the flow was sent. `upper`: its TCP header, or NULL for other protocols. */
void notes_put(struct notes *notes, uint32_t spi, const struct flow_key *key, const uint8_t *upper);

/* NULL if it is not there. Addresses are 4 or 16 bytes long, by the family. */
const struct note *notes_find(const struct notes *notes, uint32_t spi, uint8_t family, const uint8_t *source,
                              const uint8_t *destination);

#endif
