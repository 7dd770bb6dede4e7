#include "ways.h"

#include <string.h>

#include "clock.h"

enum {
  /* The least that Linux takes as a path's MTU (net.ipv4.route.min_pmtu; RFC 8200 section 5). */
  LEAST_TOLD_IPV4 = 552,
  LEAST_TOLD_IPV6 = 1280,
  /* RFC 1191 section 6.3: ten minutes, after which a larger size is tried. */
  LIMIT_SECONDS = 600,
  /* Linux forgets after as long (net.ipv4.route.mtu_expires), and must not forget later than this does. */
  TOLD_SECONDS = 660,
};

static uint32_t least_told(const struct way *way) { return way->family == 4 ? LEAST_TOLD_IPV4 : LEAST_TOLD_IPV6; }

static struct way *bucket(struct ways *ways, const uint8_t destination[16]) {
  uint64_t parts[2];
  memcpy(parts, destination, sizeof parts);
  uint64_t mixed = (parts[0] ^ parts[1] * 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL;
  return ways->way[(mixed >> 32) % WAYS_BUCKETS];
}

static int is_to(const struct way *way, uint8_t family, const uint8_t destination[16]) {
  return way->family == family && memcmp(way->destination, destination, 16) == 0;
}

struct way *ways_find(struct ways *ways, uint8_t family, const uint8_t destination[16], uint64_t now) {
  if (ways->used == 0) return NULL;
  struct way *all = bucket(ways, destination);
  for (int i = 0; i < WAYS_DEEP; i++) {
    struct way *way = &all[i];
    if (!is_to(way, family, destination) || way->told_until <= now) continue;
    if (way->limit_until <= now) way->limit = UINT32_MAX;
    return way;
  }
  return NULL;
}

static struct way *take(struct ways *ways, uint8_t family, const uint8_t destination[16]) {
  struct way *all = bucket(ways, destination), *oldest = all;
  for (int i = 0; i < WAYS_DEEP; i++)
    if (all[i].told_until < oldest->told_until) oldest = &all[i];
  memset(oldest, 0, sizeof *oldest);
  oldest->family = family;
  memcpy(oldest->destination, destination, 16);
  oldest->limit = UINT32_MAX;
  ways->used = 1;
  return oldest;
}

struct way *ways_learn(struct ways *ways, uint8_t family, const uint8_t destination[16], uint32_t limit, uint64_t now) {
  struct way *way = ways_find(ways, family, destination, now);
  if (!way) way = take(ways, family, destination);
  if (limit < way->limit) way->limit = limit;
  way->limit_until = now + LIMIT_SECONDS * NANOSECONDS_PER_SECOND;
  return way;
}

uint32_t way_room(const struct way *way, uint32_t room) {
  if (way->limit == UINT32_MAX) return UINT32_MAX;
  return way->limit < least_told(way) + room ? least_told(way) : way->limit - room;
}

void way_tell(struct way *way, uint64_t now) {
  way->told_until = now + TOLD_SECONDS * NANOSECONDS_PER_SECOND;
}

int way_is_too_narrow(const struct way *way, uint32_t room) {
  return way->limit != UINT32_MAX && way->limit < least_told(way) + room;
}
