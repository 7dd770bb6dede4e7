/* Bytes that lie in several places and are hashed as one. */
#ifndef PBS_PIECE_H
#define PBS_PIECE_H

#include <stddef.h>
#include <stdint.h>

struct piece {
  const uint8_t *bytes;
  size_t length;
};

#endif
