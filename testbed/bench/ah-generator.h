/* What ah-generator.c and its program share. */
#ifndef PBS_AH_GENERATOR_H
#define PBS_AH_GENERATOR_H

#include <stdint.h>

/* Of a frame with an IPv4 header without options, and HMAC-SHA-256-128. */
enum { AH_AT = 14 + 20, AH_SEQUENCE_AT = 8, AH_BYTES = 28 };

struct proof {
  uint8_t sequence[4];
  uint8_t icv[16];
};

struct template {
  uint64_t interval; /* nanoseconds from one packet to the next */
  uint32_t interface;
  uint16_t sum; /* of the IP header, as it stands there */
  uint8_t destination[6];
};

#endif
