/* The bytes over which an ICV is computed (RFC 4302 section 3.3.3). */
#ifndef PBS_AH_COVER_H
#define PBS_AH_COVER_H

#include "ah-walk.h"
#include "piece.h"

enum { AH_PIECES = 2 };

/* A copy of the headers, AH among them, with what changes on the way zeroed or as at arrival; the rest in place. */
struct ah_cover {
  struct piece pieces[AH_PIECES];
  uint8_t head[AH_HEADERS_MAX + (UINT8_MAX + 2) * 4];
};

/* `icv_length` bytes behind the fixed part are taken as zero; padding is covered. AH_OK or AH_MALFORMED. */
enum ah_result ah_cover(struct ah_cover *cover, const uint8_t *bytes, const struct ah_place *place,
                        size_t icv_length);

#endif
