/* Packets for the tests, written field by field. */
#ifndef PBS_BUILD_PACKET_H
#define PBS_BUILD_PACKET_H

#include <stdint.h>
#include <string.h>

struct built {
  uint8_t bytes[2048];
  size_t length;
};

static inline void put16(uint8_t *p, unsigned value) {
  p[0] = (uint8_t)(value >> 8);
  p[1] = (uint8_t)value;
}

static inline void put_bytes(struct built *b, const void *bytes, size_t count) {
  if (count > 0) memcpy(b->bytes + b->length, bytes, count);
  b->length += count;
}

static inline void put_zeros(struct built *b, size_t count) {
  memset(b->bytes + b->length, 0, count);
  b->length += count;
}

/* 192.168.20.1 to 192.168.21.4; `option_words` words of IP options, all end-of-list. */
static inline void begin4(struct built *b, uint8_t protocol, unsigned option_words) {
  static const uint8_t addresses[8] = {192, 168, 20, 1, 192, 168, 21, 4};
  memset(b, 0, sizeof *b);
  put_zeros(b, 12);
  b->bytes[0] = (uint8_t)(0x45 + option_words);
  b->bytes[8] = 64;
  b->bytes[9] = protocol;
  put_bytes(b, addresses, 8);
  put_zeros(b, option_words * 4);
}

/* fd00::1 to fd00::2. */
static inline void begin6(struct built *b, uint8_t next) {
  memset(b, 0, sizeof *b);
  put_zeros(b, 40);
  b->bytes[0] = 0x60;
  b->bytes[6] = next;
  b->bytes[7] = 64;
  b->bytes[8] = b->bytes[24] = 0xfd;
  b->bytes[23] = 1;
  b->bytes[39] = 2;
}

/* An extension header of `units` times 8 bytes. */
static inline void put_extension(struct built *b, uint8_t next, unsigned units) {
  size_t at = b->length;
  put_zeros(b, units * 8);
  b->bytes[at] = next;
  b->bytes[at + 1] = (uint8_t)(units - 1);
}

/* AH with `icv` bytes of ICV, SPI 0x01020304 and sequence number 7. */
static inline void put_ah(struct built *b, uint8_t next, size_t icv) {
  static const uint8_t numbers[8] = {1, 2, 3, 4, 0, 0, 0, 7};
  size_t at = b->length;
  put_zeros(b, 4);
  put_bytes(b, numbers, sizeof numbers);
  put_zeros(b, icv);
  b->bytes[at] = next;
  b->bytes[at + 1] = (uint8_t)((12 + icv) / 4 - 2);
}

/* Ports 4000 to 80. */
static inline void put_udp(struct built *b, size_t payload) {
  size_t at = b->length;
  put_zeros(b, 8 + payload);
  put16(b->bytes + at, 4000);
  put16(b->bytes + at + 2, 80);
  put16(b->bytes + at + 4, (unsigned)(8 + payload));
}

/* Ports 4000 to 80; `options` is a multiple of 4 long. */
static inline void put_tcp(struct built *b, uint8_t flags, const void *options, size_t option_bytes, size_t payload) {
  size_t at = b->length;
  put_zeros(b, 20);
  put16(b->bytes + at, 4000);
  put16(b->bytes + at + 2, 80);
  b->bytes[at + 12] = (uint8_t)((5 + option_bytes / 4) << 4);
  b->bytes[at + 13] = flags;
  put_bytes(b, options, option_bytes);
  put_zeros(b, payload);
}

/* Writes the length field of the IP header. */
static inline void finish(struct built *b) {
  if (b->bytes[0] >> 4 == 4) put16(b->bytes + 2, (unsigned)b->length);
  else put16(b->bytes + 4, (unsigned)b->length - 40);
}

#endif
