/* Messages that say that a packet was too big, written field by field. */
#ifndef PBS_TOO_BIG_SAMPLES_H
#define PBS_TOO_BIG_SAMPLES_H

#include "build-packet.h"

static inline uint16_t sum_up(uint32_t sum, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) sum += i % 2 ? bytes[i] : (uint32_t)(bytes[i] << 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

/* Puts length and checksum right. */
static inline void mend(struct built *b) {
  size_t at = b->bytes[0] >> 4 == 6 ? 40 : 20;
  if (b->length < at + 8) return;
  uint32_t sum = 0;
  finish(b);
  put16(b->bytes + at + 2, 0);
  if (at == 40) {
    sum = (uint32_t)(b->length - at) + 58;
    for (int i = 8; i < 40; i++) sum += i % 2 ? b->bytes[i] : (uint32_t)(b->bytes[i] << 8);
  }
  put16(b->bytes + at + 2, sum_up(sum, b->bytes + at, b->length - at));
}

/* The packet that is told of begins here. */
static inline size_t quote_at(const struct built *b) { return b->bytes[0] >> 4 == 6 ? 48 : 28; }

/* Quotes `quoted` bytes of a packet of 1400 bytes or so, from the address that the message goes to; an MTU of 1300. */
static inline struct built message_about(const struct built *packet, size_t quoted) {
  struct built b;
  int is6 = packet->bytes[0] >> 4 == 6;
  if (is6) begin6(&b, 58);
  else begin4(&b, 1, 0);
  memcpy(b.bytes + (is6 ? 24 : 16), packet->bytes + (is6 ? 8 : 12), is6 ? 16 : 4);
  put_zeros(&b, 8);
  b.bytes[b.length - 8] = is6 ? 2 : 3;
  b.bytes[b.length - 7] = is6 ? 0 : 4;
  put16(b.bytes + b.length - 2, 1300);
  put_bytes(&b, packet->bytes, quoted < packet->length ? quoted : packet->length);
  mend(&b);
  return b;
}

static inline struct built sample(int family, size_t quoted_behind_header) {
  struct built packet;
  if (family == 6) {
    begin6(&packet, 0);
    put_extension(&packet, 51, 1);
  } else {
    begin4(&packet, 51, 1);
  }
  size_t header = packet.length;
  put_ah(&packet, 17, family == 6 ? 20 : 16);
  put_udp(&packet, 1350);
  finish(&packet);
  return message_about(&packet, header + quoted_behind_header);
}

#endif
