/* Numbers that look random and are the same in every run. */
#ifndef PBS_TEST_PICK_H
#define PBS_TEST_PICK_H

#include <stdint.h>

/* From 0 to below - 1. */
static inline uint32_t pick(uint32_t below) {
  static uint64_t state = 0x9e3779b97f4a7c15ULL;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32) % below;
}

#endif
