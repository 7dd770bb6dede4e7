#include "places.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct places *places_create(void) {
  size_t size = (PLACES_FLOWS + 1) * sizeof(struct places);
  struct places *all = aligned_alloc(_Alignof(struct places), size);
  if (all) memset((void *)all, 0, size);
  return all;
}

/* Those that come first stay: with one for each forged address nobody could be told from the others. */
static struct place_count *find(struct places *places, place_name name) {
  for (int i = 0; i < PLACES_OF_FLOW; i++) {
    struct place_count *place = &places->place[i];
    place_name there = atomic_load_explicit(&place->name, memory_order_relaxed);
    if (there == 0 && atomic_compare_exchange_strong(&place->name, &there, name)) return place;
    if (there == name) return place;
  }
  return NULL;
}

static void add(struct places *places, place_name name, uint64_t bytes, uint64_t failed) {
  struct place_count *place = find(places, name);
  if (!place) {
    atomic_fetch_add_explicit(&places->other, 1, memory_order_relaxed);
    return;
  }
  if (bytes) atomic_fetch_add_explicit(&place->bytes, bytes, memory_order_relaxed);
  if (failed) atomic_fetch_add_explicit(&place->failed, failed, memory_order_relaxed);
}

void places_passed(struct places *places, place_name name, uint64_t bytes) { add(places, name, bytes, 0); }

void places_failed(struct places *places, place_name name) { add(places, name, 0, 1); }

void places_clear(struct places *places) { memset((void *)places, 0, sizeof *places); }
