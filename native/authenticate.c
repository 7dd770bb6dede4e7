#include "authenticate.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "allowance.h"
#include "clock.h"
#include "narrow.h"
#include "queue.h"

enum {
  SLOT_BYTES = 65536, /* of which QUEUE_PACKET_MAX are used */
};

/* A packet that waits for a signature over its batch. */
struct waiting {
  struct association *association;
  struct entry *entry;
  const struct judge *judge;
  const struct packet *packet;
  const uint8_t *bytes;
  size_t length;
  uint64_t now;
  uint32_t emit; /* as in an outcome */
  int index;
};

struct authenticator {
  struct ah_scratch *scratch;
  struct narrow narrow;
  struct allowance forgeries; /* of all flows */
  uint8_t (*slots)[SLOT_BYTES]; /* packets that have grown, by their number in the batch */
  struct outcome outcomes[AUTHENTICATE_BATCH];
  struct waiting waiting[AUTHENTICATE_BATCH];
  int waiting_count;
};

static const size_t slots_bytes = (size_t)AUTHENTICATE_BATCH * SLOT_BYTES;

struct authenticator *authenticator_create(void) {
  struct authenticator *a = calloc(1, sizeof *a);
  if (!a) return NULL;
  a->scratch = ah_scratch_create();
  void *slots = mmap(NULL, slots_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  a->slots = slots == MAP_FAILED ? NULL : slots;
  int prepared = narrow_init(&a->narrow) == 0;
  if (a->scratch && a->slots && prepared) return a;
  int error = errno;
  authenticator_destroy(a);
  errno = error;
  return NULL;
}

void authenticator_destroy(struct authenticator *a) {
  if (!a) return;
  if (a->slots) munmap(a->slots, slots_bytes);
  narrow_destroy(&a->narrow);
  ah_scratch_destroy(a->scratch);
  free(a);
}

static struct outcome dropped(enum counter why, struct counters *counters) {
  counters_add(counters, why, 1);
  return (struct outcome){.decision = DECIDE_DROP};
}

static struct outcome failed(struct protection *protection, enum protection_failure failure, enum counter why,
                             struct counters *counters) {
  protection_failed(protection, failure);
  struct outcome outcome = dropped(why, counters);
  outcome.failed = 1;
  return outcome;
}

/* ---- Receiving ---- */

static struct outcome not_verified(struct protection *protection, enum ah_result result, struct counters *counters) {
  switch (result) {
    case AH_REPLAYED:
      return failed(protection, FAILURE_REPLAY, COUNTER_DROP_AH_REPLAYED, counters);
    case AH_BAD_ICV:
      return failed(protection, FAILURE_ICV, COUNTER_DROP_AH_ICV, counters);
    default:
      return failed(protection, FAILURE_MALFORMED, COUNTER_DROP_AH_MALFORMED, counters);
  }
}

/*
 * Who forges signatures costs this thread 20 to 100 us a packet. All flows together may cost it 2000 such a second; what
 * is beyond falls on the flows that are forged, each of which keeps 4 a second. So forgeries of one flow take nothing
 * from the others, and shut out good packets of their own flow only while there are thousands a second.
 */
static const struct allowance_rate forgeries_of_all = {NANOSECONDS_PER_SECOND / 2000, 256};
static const struct allowance_rate forgeries_of_one = {NANOSECONDS_PER_SECOND / 4, 16};

static enum ah_result verify_within(struct authenticator *a, struct association *association, const uint8_t *bytes,
                                    const struct ah_place *place, uint64_t now) {
  struct ah_effort effort = {.allowed = allowance_left(&a->forgeries, &forgeries_of_all, now) ||
                                        allowance_left(&association->forgeries, &forgeries_of_one, now)};
  enum ah_result result =
      ah_verify_within(a->scratch, association->key, &association->window, bytes, place, &effort);
  if (!effort.wasted) return result;
  allowance_take(&a->forgeries, &forgeries_of_all, now);
  allowance_take(&association->forgeries, &forgeries_of_one, now);
  return result;
}

/* Cheap checks first. That a volume is used up is told only after a packet that was verified. */
static struct outcome verify(struct authenticator *a, const struct judge *judge, struct entry *entry,
                             struct protection *protection, const struct packet *packet, uint8_t *bytes, uint64_t now,
                             struct counters *counters) {
  struct association *association = protection_find(protection, packet->spi, now);
  if (!association) return failed(protection, FAILURE_SPI, COUNTER_DROP_AH_SPI, counters);
  if (judge_is_exhausted(entry) && !judge_has_volume(judge, entry, packet->length))
    return (struct outcome){.decision = judge_volume(judge, entry, packet, packet->length, now, counters)};
  struct ah_place place;
  enum ah_result result = ah_find(&place, bytes, packet->length);
  if (result == AH_OK) result = verify_within(a, association, bytes, &place, now);
  if (result == AH_BUSY) return dropped(COUNTER_DROP_AH_BUSY, counters);
  if (result != AH_OK) return not_verified(protection, result, counters);
  if (!protection_take_overlap(protection, association, packet->length, now))
    return failed(protection, FAILURE_SPI, COUNTER_DROP_AH_SPI, counters);
  struct outcome outcome = {.decision = judge_volume(judge, entry, packet, packet->length, now, counters)};
  if (outcome.decision != DECIDE_ACCEPT) return outcome;
  counters_add(counters, COUNTER_AH_VERIFIED, 1);
  received_tally_add(&association->received, place.sequence, (uint16_t)packet->length);
  if (association->action != PROTECT_STRIP) return outcome;
  outcome.bytes = ah_strip(bytes, &place);
  outcome.length = place.length - place.ah_length;
  return outcome;
}

/* ---- Sending ---- */

/* The new association is asked for long before the numbers run out; after that nothing is sent. */
static uint32_t next_sequence(const struct judge *judge, const struct entry *entry, struct association *association,
                              struct counters *counters) {
  uint32_t sequence = ah_next_sequence(&association->sequence);
  if (sequence < AH_SEQUENCE_REKEY && sequence != 0) return sequence;
  if (!atomic_exchange(&association->rekey_raised, 1) &&
      !events_push(judge->events, EVENT_REKEY, &entry->key, association->spi)) {
    atomic_store(&association->rekey_raised, 0);
    counters_add(counters, COUNTER_EVENTS_LATE, 1);
  }
  return sequence;
}

static struct outcome not_inserted(enum ah_result result, struct counters *counters) {
  switch (result) {
    case AH_TOO_LONG:
      return dropped(COUNTER_DROP_AH_TOO_LONG, counters);
    case AH_NO_SEQUENCE:
      return dropped(COUNTER_DROP_AH_NO_SEQUENCE, counters);
    default:
      return dropped(COUNTER_DROP_AH_MALFORMED, counters);
  }
}

/* The packet as it will be on the wire is counted; what exceeds the volume is not sent. */
static struct outcome inserted(struct authenticator *a, const struct waiting *w, uint32_t sequence, const uint8_t *out, size_t length,
                               struct counters *counters) {
  enum decision decision = judge_volume(w->judge, w->entry, w->packet, length, w->now, counters);
  if (decision != DECIDE_ACCEPT) return (struct outcome){.decision = decision};
  counters_add(counters, COUNTER_AH_INSERTED, 1);
  sent_tally_add(&w->association->sent, sequence, length, w->now);
  narrow_sent(&a->narrow, w->association->spi, w->packet, w->bytes);
  return (struct outcome){.decision = decision, .bytes = out, .length = length, .emit = w->emit};
}

static struct outcome insert_now(struct authenticator *a, const struct waiting *w, struct counters *counters) {
  struct association *association = w->association;
  size_t length = 0;
  uint32_t sequence = next_sequence(w->judge, w->entry, association, counters);
  enum ah_result result = ah_insert(a->scratch, association->key, association->spi, sequence, w->bytes, w->length,
                                    a->slots[w->index], QUEUE_PACKET_MAX, &length);
  if (result != AH_OK) return not_inserted(result, counters);
  return inserted(a, w, sequence, a->slots[w->index], length, counters);
}

static void insert(struct authenticator *a, const struct judge *judge, int index, struct entry *entry,
                   struct association *association, const struct packet *packet, uint8_t *bytes, uint64_t now,
                   struct counters *counters) {
  size_t length = packet->length + ah_length(association->algorithm, packet->key.family, 1);
  if (!judge_has_volume(judge, entry, length)) {
    a->outcomes[index].decision = judge_volume(judge, entry, packet, length, now, counters);
    return;
  }
  uint32_t emit = 0;
  size_t answer = narrow_fit(&a->narrow, association->algorithm, packet, bytes, now, &emit, a->slots[index]);
  if (answer > 0) {
    counters_add(counters, COUNTER_TOO_BIG_LOCAL, 1);
    a->outcomes[index] = (struct outcome){.decision = DECIDE_ACCEPT, .bytes = a->slots[index], .length = answer};
    return;
  }
  struct waiting w = {association, entry, judge, packet, bytes, packet->length, now, emit, index};
  if (ah_is_tree(association->algorithm)) a->waiting[a->waiting_count++] = w;
  else a->outcomes[index] = insert_now(a, &w, counters);
}

/* Signs together what waits with the first of them, and moves the others up. */
static void sign_together(struct authenticator *a, struct counters *counters) {
  struct ah_outgoing packets[AH_BATCH_MAX];
  struct waiting chosen[AH_BATCH_MAX];
  struct association *association = a->waiting[0].association;
  unsigned count = 0;
  int left = 0;
  for (int i = 0; i < a->waiting_count; i++) {
    const struct waiting w = a->waiting[i];
    if (w.association != association || count == AH_BATCH_MAX) {
      a->waiting[left++] = w;
      continue;
    }
    packets[count] = (struct ah_outgoing){.bytes = w.bytes,
                                          .length = w.length,
                                          .sequence = next_sequence(w.judge, w.entry, association, counters),
                                          .out = a->slots[w.index],
                                          .room = QUEUE_PACKET_MAX};
    chosen[count++] = w;
  }
  a->waiting_count = left;
  enum ah_result all = ah_insert_batch(a->scratch, association->key, association->spi, packets, count);
  for (unsigned i = 0; i < count; i++) {
    const struct waiting *w = &chosen[i];
    enum ah_result result = all == AH_OK ? packets[i].result : all;
    a->outcomes[w->index] = result == AH_OK
                                ? inserted(a, w, packets[i].sequence, packets[i].out, packets[i].out_length, counters)
                                : not_inserted(result, counters);
  }
}

/* ---- Both ---- */

void authenticate(struct authenticator *a, const struct judge *judge, int index, const struct packet *packet,
                  uint8_t *bytes, size_t captured, uint64_t hash, uint64_t now, struct counters *counters) {
  struct outcome *outcome = &a->outcomes[index];
  *outcome = (struct outcome){.decision = judge_packet(judge, packet, hash, now, counters)};
  if (outcome->decision != DECIDE_DEEP) return;
  if (packet->length > captured || packet->offloaded) {
    *outcome = dropped(COUNTER_DROP_AH_TOO_LONG, counters);
    return;
  }
  struct protection *protection = NULL;
  struct entry *entry = judge_find(judge, packet, hash, now, &protection);
  if (!entry || !protection) { /* gone since the line above */
    *outcome = dropped(COUNTER_DROP_NO_PERMISSION, counters);
    return;
  }
  struct association *current = atomic_load(&protection->current);
  int inserts = current && current->action == PROTECT_INSERT;
  /* It would be found while AH is put in, when a sequence number has gone. */
  if (inserts && packet->ah) *outcome = dropped(COUNTER_DROP_AH_MALFORMED, counters);
  else if (inserts) insert(a, judge, index, entry, current, packet, bytes, now, counters);
  else if (packet->ah) *outcome = verify(a, judge, entry, protection, packet, bytes, now, counters);
  else if (current) *outcome = failed(protection, FAILURE_MISSING, COUNTER_DROP_AH_MISSING, counters);
  else outcome->decision = judge_volume(judge, entry, packet, packet->length, now, counters);
  if (outcome->failed) judge_failed(judge, entry, packet);
}

void authenticate_message(struct authenticator *a, const struct judge *judge, int index, const uint8_t *bytes,
                          size_t length, uint64_t now, struct counters *counters) {
  size_t made = 0;
  enum counter why = narrow_translate(&a->narrow, judge, bytes, length, now, a->slots[index], &made);
  counters_add(counters, why, 1);
  enum decision decision = why == COUNTER_TOO_BIG_TOLD || why == COUNTER_TOO_BIG_OTHER ? DECIDE_ACCEPT : DECIDE_DROP;
  a->outcomes[index] = (struct outcome){.decision = decision, .bytes = made > 0 ? a->slots[index] : NULL, .length = made};
}

void authenticator_finish(struct authenticator *a, struct counters *counters) {
  while (a->waiting_count > 0) sign_together(a, counters);
}

struct outcome authenticator_outcome(const struct authenticator *a, int index) { return a->outcomes[index]; }
