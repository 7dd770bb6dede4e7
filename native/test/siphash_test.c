/* Vectors of the reference implementation: key 00..0f, input 00, 01, 02 and so on. */
#include "../siphash.h"

#include <string.h>

#include "check.h"

static uint64_t hash_counting(size_t words) {
  uint8_t key_bytes[16], input[64];
  uint64_t key[2], in[8];
  for (int i = 0; i < 16; i++) key_bytes[i] = (uint8_t)i;
  for (int i = 0; i < 64; i++) input[i] = (uint8_t)i;
  memcpy(key, key_bytes, sizeof key);
  memcpy(in, input, sizeof in);
  return siphash_words(key, in, words, 2, 4);
}

int main(void) {
  CHECK(hash_counting(0) == 0x726fdb47dd0e0e31ULL);
  CHECK(hash_counting(1) == 0x93f5f5799a932462ULL);
  CHECK(hash_counting(2) == 0x3f2acc7f57c29bdbULL);
  return CHECK_RESULT();
}
