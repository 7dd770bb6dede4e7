/*
 * AH for tests in other languages. Each line of input is a command, its words with a space between and bytes in
 * hexadecimal; for each there is a line of output.
 *
 *   insert ALGORITHM KEY SPI SEQUENCE PACKET   -> ok PACKET
 *   batch ALGORITHM KEY SPI SEQUENCE PACKET... -> ok PACKET...
 *   verify ALGORITHM KEY PACKET                -> ok SPI SEQUENCE STRIPPED
 *   covered ALGORITHM PACKET                   -> ok COVERED ICV
 *
 * ALGORITHM is a number of ah.h. Where it does not go well, the line is the result's name.
 */
#include <stdlib.h>

#include "../ah-key.h"
#include "hex.h"

enum { LINE_BYTES = 1 << 20, PACKET_BYTES = 66000, WORDS = AH_BATCH_MAX + 5 };

static const char *const RESULTS[] = {
    [AH_OK] = "ok",           [AH_NONE] = "none",       [AH_MALFORMED] = "malformed",
    [AH_FRAGMENT] = "fragment", [AH_REPLAYED] = "replayed", [AH_BAD_ICV] = "bad-icv",
    [AH_PRESENT] = "present", [AH_TOO_LONG] = "too-long", [AH_NO_SEQUENCE] = "no-sequence",
    [AH_BUSY] = "busy",       [AH_FAILED] = "failed",
};

static char line[LINE_BYTES];
static uint8_t input[AH_BATCH_MAX][PACKET_BYTES], output[AH_BATCH_MAX][PACKET_BYTES];
static struct ah_scratch *scratch;

static struct ah_key *read_key(char *const *words, int signs) {
  uint8_t bytes[4096];
  long length = hex_read(bytes, sizeof bytes, words[2]);
  return length < 0 ? NULL : ah_key_create((enum ah_algorithm)atoi(words[1]), bytes, (size_t)length, signs);
}

static void print_bytes(const uint8_t *bytes, size_t length) {
  putchar(' ');
  hex_print(stdout, bytes, length);
}

static enum ah_result insert(char *const *words, struct ah_key *key) {
  size_t written;
  long length = hex_read(input[0], PACKET_BYTES, words[5]);
  if (length < 0) return AH_MALFORMED;
  enum ah_result result = ah_insert(scratch, key, (uint32_t)strtoul(words[3], NULL, 10),
                                    (uint32_t)strtoul(words[4], NULL, 10), input[0], (size_t)length, output[0],
                                    PACKET_BYTES, &written);
  if (result != AH_OK) return result;
  printf("ok");
  print_bytes(output[0], written);
  return AH_OK;
}

static enum ah_result batch(char *const *words, unsigned count, struct ah_key *key) {
  struct ah_outgoing packets[AH_BATCH_MAX];
  for (unsigned i = 0; i < count; i++) {
    long length = hex_read(input[i], PACKET_BYTES, words[i]);
    if (length < 0) return AH_MALFORMED;
    packets[i] = (struct ah_outgoing){input[i],     (size_t)length, (uint32_t)strtoul(words[-1], NULL, 10) + i,
                                      output[i],    PACKET_BYTES,   0,
                                      AH_MALFORMED};
  }
  enum ah_result result = ah_insert_batch(scratch, key, (uint32_t)strtoul(words[-2], NULL, 10), packets, count);
  for (unsigned i = 0; result == AH_OK && i < count; i++) result = packets[i].result;
  if (result != AH_OK) return result;
  printf("ok");
  for (unsigned i = 0; i < count; i++) print_bytes(output[i], packets[i].out_length);
  return AH_OK;
}

static enum ah_result find(struct ah_place *place, const char *packet) {
  long length = hex_read(input[0], PACKET_BYTES, packet);
  return length < 0 ? AH_MALFORMED : ah_find(place, input[0], (size_t)length);
}

static enum ah_result verify(char *const *words, struct ah_key *key) {
  struct ah_place place;
  enum ah_result result = find(&place, words[3]);
  if (result == AH_OK) result = ah_verify(scratch, key, NULL, input[0], &place);
  if (result != AH_OK) return result;
  printf("ok %u %u", place.spi, place.sequence);
  print_bytes(ah_strip(input[0], &place), place.length - place.ah_length);
  return AH_OK;
}

static enum ah_result covered(char *const *words) {
  struct ah_place place;
  size_t icv = ah_icv_length((enum ah_algorithm)atoi(words[1]), 1);
  enum ah_result result = find(&place, words[2]);
  if (result == AH_OK && place.ah_length < AH_FIXED + icv) result = AH_MALFORMED;
  if (result == AH_OK) result = ah_cover(&scratch->cover, input[0], &place, icv);
  if (result != AH_OK) return result;
  printf("ok ");
  for (int i = 0; i < AH_PIECES; i++)
    hex_print(stdout, scratch->cover.pieces[i].bytes, scratch->cover.pieces[i].length);
  print_bytes(input[0] + place.at + AH_FIXED, icv);
  return AH_OK;
}

static enum ah_result run_with_key(char *const *words, int count) {
  int verifies = strcmp(words[0], "verify") == 0;
  struct ah_key *key = read_key(words, !verifies);
  enum ah_result result = AH_FAILED;
  if (!key) return AH_FAILED;
  if (verifies && count == 4) result = verify(words, key);
  if (strcmp(words[0], "insert") == 0 && count == 6) result = insert(words, key);
  if (strcmp(words[0], "batch") == 0 && count > 5) result = batch(words + 5, (unsigned)count - 5, key);
  ah_key_destroy(key);
  return result;
}

static enum ah_result run(char *const *words, int count) {
  if (count == 3 && strcmp(words[0], "covered") == 0) return covered(words);
  return count > 3 ? run_with_key(words, count) : AH_FAILED;
}

int main(void) {
  scratch = ah_scratch_create();
  if (!scratch) return 1;
  while (fgets(line, sizeof line, stdin)) {
    char *words[WORDS], *rest = NULL;
    int count = 0;
    for (char *word = strtok_r(line, " \n", &rest); word && count < WORDS; word = strtok_r(NULL, " \n", &rest))
      words[count++] = word;
    enum ah_result result = run(words, count);
    puts(result == AH_OK ? "" : RESULTS[result]);
    fflush(stdout);
  }
  ah_scratch_destroy(scratch);
  return 0;
}
