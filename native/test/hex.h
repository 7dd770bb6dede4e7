/* Bytes as text, for vectors and tools. */
#ifndef PBS_HEX_H
#define PBS_HEX_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/* How many bytes, or -1 if the text is no lower-case hexadecimal or there is no room. */
static inline long hex_read(uint8_t *out, size_t room, const char *text) {
  size_t length = strlen(text);
  if (length % 2 != 0 || length / 2 > room) return -1;
  for (size_t i = 0; i < length; i += 2) {
    int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return -1;
    out[i / 2] = (uint8_t)(high << 4 | low);
  }
  return (long)(length / 2);
}

static inline void hex_print(FILE *to, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) fprintf(to, "%02x", bytes[i]);
}

#endif
