/*
 * Where packets of a flow enter this host: bytes that passed, and packets that failed authentication, by interface and
 * hardware address of the last hop. Of chosen flows only, in memory that is taken once. Any thread may count, and XDP programs,
 * to which the same memory is a map.
 */
#ifndef PBS_PLACES_H
#define PBS_PLACES_H

#include "table-layout.h"

enum {
  PLACES_FLOWS = 4096, /* numbers 1 to this; 0: a flow that is not traced */
  PLACES_OF_FLOW = 5,
};

/* An interface's index, cut to 16 bits, and 6 bytes of address. 0: not known. */
typedef uint64_t place_name;

struct place_count {
  SHARED(place_name) name; /* 0: free */
  SHARED(uint64_t) bytes;
  SHARED(uint64_t) failed;
};

/* All zero: nothing yet. */
struct places {
  _Alignas(128) struct place_count place[PLACES_OF_FLOW];
  SHARED(uint64_t) other; /* packets of further places */
};

_Static_assert(sizeof(struct places) == 128, "two cache lines a flow");

static inline place_name place_of(uint32_t interface, const uint8_t *address) {
  place_name name = interface & 0xffff;
  for (int i = 0; i < 6; i++) name = name << 8 | address[i];
  return name;
}

#ifndef __bpf__
/* For PLACES_FLOWS flows; NULL with errno. To be freed with free(). */
struct places *places_create(void);

void places_passed(struct places *places, place_name name, uint64_t bytes);
void places_failed(struct places *places, place_name name);

/* Forgets what was counted. Nobody may count meanwhile. */
void places_clear(struct places *places);
#endif

#endif
