#include "../places.h"

#include <stdlib.h>

#include "check.h"

static const uint8_t honest[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t other[6] = {2, 0, 0, 0, 0, 2};

static void test_names(void) {
  CHECK(place_of(1, honest) != place_of(2, honest));
  CHECK(place_of(1, honest) != place_of(1, other));
  CHECK_EQUAL(place_of(3, honest) >> 48, 3);
  CHECK_EQUAL(place_of(3, honest) & 0xffffffffffffULL, 0x020000000001ULL);
}

static void test_counts(void) {
  struct places *all = places_create();
  struct places *places = &all[PLACES_FLOWS];
  places_passed(places, place_of(1, honest), 1000);
  places_failed(places, place_of(2, other));
  places_passed(places, place_of(1, honest), 500);
  CHECK_EQUAL(places->place[0].name, place_of(1, honest));
  CHECK_EQUAL(places->place[0].bytes, 1500);
  CHECK_EQUAL(places->place[0].failed, 0);
  CHECK_EQUAL(places->place[1].bytes, 0);
  CHECK_EQUAL(places->place[1].failed, 1);
  CHECK_EQUAL(all[1].place[0].name, 0); /* of another flow */
  places_clear(places);
  CHECK_EQUAL(places->place[0].name, 0);
  free(all);
}

/* Whoever forges an address for each packet takes nobody's count. */
static void test_bounded(void) {
  struct places *all = places_create();
  struct places *places = &all[1];
  places_passed(places, place_of(1, honest), 100);
  for (uint32_t i = 0; i < 1000; i++) {
    uint8_t forged[6] = {6, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};
    places_passed(places, place_of(2, forged), 100);
  }
  places_passed(places, place_of(1, honest), 100);
  CHECK_EQUAL(places->place[0].bytes, 200);
  CHECK_EQUAL(places->other, 1000 - (PLACES_OF_FLOW - 1));
  free(all);
}

int main(void) {
  test_names();
  test_counts();
  test_bounded();
  return CHECK_RESULT();
}
