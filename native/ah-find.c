#include <netinet/in.h>
#include <string.h>

#include "ah-walk.h"

static enum ah_result read_header(struct ah_place *place, const uint8_t *bytes, const struct ah_walk *w) {
  if (w->at + AH_FIXED > w->length) return AH_MALFORMED;
  const uint8_t *header = bytes + w->at;
  size_t length = ((size_t)header[1] + 2) * 4;
  if (length < AH_FIXED || w->at + length > w->length) return AH_MALFORMED;
  if (w->family == 6 && length % IPV6_UNIT != 0) return AH_MALFORMED;
  if (header[0] == IPPROTO_AH) return AH_MALFORMED;
  *place = (struct ah_place){
      .family = w->family,
      .next = header[0],
      .next_field = (uint16_t)w->next_field,
      .at = (uint16_t)w->at,
      .ah_length = (uint16_t)length,
      .length = w->length,
      .spi = ah_read32(header + 4),
      .sequence = ah_read32(header + 8),
  };
  return AH_OK;
}

enum ah_result ah_find(struct ah_place *place, const uint8_t *bytes, size_t length) {
  struct ah_walk w;
  enum ah_result result = ah_walk_headers(&w, bytes, length);
  if (result != AH_OK) return result;
  return w.next == IPPROTO_AH ? read_header(place, bytes, &w) : AH_NONE;
}

uint8_t *ah_strip(uint8_t *bytes, const struct ah_place *place) {
  uint8_t *start = bytes + place->ah_length;
  bytes[place->next_field] = place->next;
  memmove(start, bytes, place->at);
  ah_write_length(start, place->length - place->ah_length);
  return start;
}
