#include "../authenticate.h"

#include "../queue.h"
#include "ah-flows.h"
#include "check.h"
#include "make-key.h"

enum { FLOW = 1, OTHER = 2, SPI = 0x1000, SPI_NEXT = 0x1001, PAYLOAD = 100, PLENTY = 1 << 30 };
/* As in authenticate.c: failed signatures at once, of all flows and of one. */
enum { BURST_OF_ALL = 256, BURST_OF_ONE = 16 };

struct fixture {
  struct engine *engine;
  struct authenticator *authenticator;
  struct counters counters;
  int reader;
  uint64_t now;
  struct built last; /* what the last packet became */
};

static void set_up(struct fixture *f, int enforce) {
  memset(f, 0, sizeof *f);
  f->engine = table_engine(16, enforce);
  f->authenticator = authenticator_create();
  f->reader = table_reader(f->engine->table);
  f->now = clock_now();
}

static void tear_down(struct fixture *f) {
  authenticator_destroy(f->authenticator);
  engine_close(f->engine);
}

/* A batch of one, of which the first `captured` bytes are there. */
static enum decision pass_captured(struct fixture *f, const uint8_t *bytes, size_t length, size_t captured) {
  struct packet packet;
  uint8_t *copy = malloc(captured);
  memcpy(copy, bytes, captured);
  CHECK_EQUAL(packet_parse(&packet, copy, captured, length, 0), PACKET_FINE);
  table_enter(f->engine->table, f->reader);
  authenticate(f->authenticator, &f->engine->judge, 0, &packet, copy, captured,
               table_hash(f->engine->table, &packet.key), f->now, &f->counters);
  authenticator_finish(f->authenticator, &f->counters);
  struct outcome outcome = authenticator_outcome(f->authenticator, 0);
  f->last.length = outcome.bytes && outcome.length <= sizeof f->last.bytes ? outcome.length : 0;
  if (f->last.length > 0) memcpy(f->last.bytes, outcome.bytes, f->last.length);
  table_leave(f->engine->table, f->reader);
  free(copy);
  return outcome.decision;
}

static enum decision pass(struct fixture *f, const struct built *b) {
  return pass_captured(f, b->bytes, b->length, b->length);
}

static uint64_t count(const struct fixture *f, enum counter which) { return counters_get(&f->counters, which); }

static struct entry *entry_of(struct fixture *f, uint16_t flow) {
  struct built b = flow_packet(flow, 0);
  struct packet packet = parsed_packet(&b);
  return table_find(f->engine->table, &packet.key, table_hash(f->engine->table, &packet.key));
}

static const struct protection *protection_of(struct fixture *f, uint16_t flow) {
  return engine_protection(f->engine, entry_of(f, flow));
}

static void test_there_and_back(void) {
  struct fixture sender, router, receiver;
  struct built plain = flow_packet(FLOW, PAYLOAD);
  set_up(&sender, 1);
  set_up(&router, 1);
  set_up(&receiver, 1);
  permit_flow(sender.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_INSERT), 0);
  permit_flow(router.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_VERIFY), 0);
  permit_flow(receiver.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_STRIP), 0);
  CHECK_EQUAL(pass(&sender, &plain), DECIDE_ACCEPT);
  struct built wire = sender.last;
  CHECK_EQUAL(wire.length, plain.length + 28);
  CHECK_EQUAL(pass(&router, &wire), DECIDE_ACCEPT);
  CHECK_EQUAL(router.last.length, 0);
  CHECK_EQUAL(pass(&router, &wire), DECIDE_DROP);
  CHECK_EQUAL(count(&router, COUNTER_DROP_AH_REPLAYED), 1);
  CHECK_EQUAL(pass(&receiver, &wire), DECIDE_ACCEPT);
  CHECK_EQUAL(receiver.last.length, plain.length);
  CHECK(memcmp(receiver.last.bytes + 20, plain.bytes + 20, plain.length - 20) == 0);
  CHECK_EQUAL(pass(&router, &plain), DECIDE_DROP);
  CHECK_EQUAL(count(&router, COUNTER_DROP_AH_MISSING), 1);
  CHECK_EQUAL(atomic_load(&entry_of(&router, FLOW)->bytes), wire.length);
  tear_down(&sender);
  tear_down(&router);
  tear_down(&receiver);
}

/* What the kernel cut off would be taken from the packet that lay there before. */
static void test_cut_short(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD), wire = with_mac(&plain, SPI, 1, 1);
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_STRIP), 0);
  CHECK_EQUAL(pass_captured(&f, wire.bytes, wire.length, wire.length - 4), DECIDE_DROP);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_TOO_LONG), 1);
  CHECK_EQUAL(pass(&f, &wire), DECIDE_ACCEPT);
  tear_down(&f);
}

/* As a stranger's would be that says to come from this sender. */
static void test_already_with_ah(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD), wire = with_mac(&plain, SPI, 1, 1);
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_INSERT), 0);
  CHECK_EQUAL(pass(&f, &wire), DECIDE_DROP);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_MALFORMED), 1);
  CHECK_EQUAL(atomic_load(&protection_of(&f, FLOW)->current->sequence), 0);
  CHECK_EQUAL(atomic_load(&entry_of(&f, FLOW)->bytes), 0);
  tear_down(&f);
}

/* The kernel takes a packet back only up to a length a little below that of the largest datagram. */
static void test_too_long_to_hand_back(void) {
  enum { GROWTH = 28 };
  struct fixture f;
  struct built head = flow_packet(FLOW, 0);
  uint8_t *large = calloc(1, 65536);
  memcpy(large, head.bytes, head.length);
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_INSERT), 0);
  for (size_t length = QUEUE_PACKET_MAX - GROWTH; length <= QUEUE_PACKET_MAX; length++) {
    put16(large + 2, (unsigned)length);
    int fits = length + GROWTH <= QUEUE_PACKET_MAX;
    CHECK_EQUAL(pass_captured(&f, large, length, length), fits ? DECIDE_ACCEPT : DECIDE_DROP);
  }
  CHECK_EQUAL(count(&f, COUNTER_AH_INSERTED), 1);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_TOO_LONG), GROWTH);
  free(large);
  tear_down(&f);
}

static void permit_signed(struct fixture *f, uint16_t flow, enum ah_algorithm algorithm, const struct key_pair *pair) {
  struct ah_key *key = ah_key_create(algorithm, pair->public_der, pair->public_length, 0);
  permit_flow(f->engine, flow, PLENTY, association_create(SPI, algorithm, PROTECT_VERIFY, key), 0);
}

static uint64_t forge(struct fixture *f, const struct built *forged, int packets) {
  uint64_t before = count(f, COUNTER_DROP_AH_ICV);
  for (int i = 0; i < packets; i++) CHECK_EQUAL(pass(f, forged), DECIDE_DROP);
  return count(f, COUNTER_DROP_AH_ICV) - before;
}

static void test_forgeries(void) {
  struct fixture f;
  struct key_pair pair;
  set_up(&f, 1);
  CHECK_EQUAL(make_key(&pair, "ED25519", 0, NULL), 0);
  struct ah_key *signer = ah_key_create(AH_ED25519, pair.private_der, pair.private_length, 1);
  permit_signed(&f, FLOW, AH_ED25519, &pair);
  permit_signed(&f, OTHER, AH_ED25519, &pair);
  struct built plain = flow_packet(FLOW, PAYLOAD), plain_other = flow_packet(OTHER, PAYLOAD);
  struct built good = with_ah(&plain, signer, SPI, 1), forged = good;
  forged.bytes[forged.length - 1] ^= 1;
  /* The flow's own burst is used up while that of all is not yet. */
  CHECK_EQUAL(forge(&f, &forged, BURST_OF_ALL + 50), BURST_OF_ALL);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_BUSY), 50);
  CHECK_EQUAL(pass(&f, &good), DECIDE_DROP);
  /* Other flows lose nothing, not even those that were forged a few times. */
  struct built forged_other = with_ah(&plain_other, signer, SPI, 1), good_other = forged_other;
  forged_other.bytes[forged_other.length - 1] ^= 1;
  CHECK_EQUAL(forge(&f, &forged_other, BURST_OF_ONE - 1), BURST_OF_ONE - 1);
  CHECK_EQUAL(pass(&f, &good_other), DECIDE_ACCEPT);
  /* Once it is over the flow does not pay for what it was forged, even while another is forged. Good packets are free. */
  f.now += NANOSECONDS_PER_SECOND;
  forged_other = with_ah(&plain_other, signer, SPI, 2);
  forged_other.bytes[forged_other.length - 1] ^= 1;
  CHECK(forge(&f, &forged_other, BURST_OF_ALL + 50) < BURST_OF_ALL + 50);
  CHECK_EQUAL(pass(&f, &good), DECIDE_ACCEPT);
  CHECK_EQUAL(pass(&f, &good), DECIDE_DROP);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_REPLAYED), 1);
  ah_key_destroy(signer);
  tear_down(&f);
}

/* The rest of a batch whose root was verified costs no signature, so it passes whatever is forged. */
static void test_forgeries_of_trees(void) {
  struct fixture f;
  struct key_pair pair;
  struct built plain = flow_packet(FLOW, PAYLOAD), signed_[2];
  struct ah_outgoing packets[2];
  set_up(&f, 1);
  CHECK_EQUAL(make_key(&pair, "EC", 0, "P-256"), 0);
  struct ah_key *signer = ah_key_create(AH_TREE_ECDSA_P256, pair.private_der, pair.private_length, 1);
  struct ah_scratch *scratch = ah_scratch_create();
  for (uint32_t i = 0; i < 2; i++)
    packets[i] = (struct ah_outgoing){.bytes = plain.bytes, .length = plain.length, .sequence = i + 1,
                                      .out = signed_[i].bytes, .room = sizeof signed_[i].bytes};
  CHECK_EQUAL(ah_insert_batch(scratch, signer, SPI, packets, 2), AH_OK);
  for (int i = 0; i < 2; i++) signed_[i].length = packets[i].out_length;
  permit_signed(&f, FLOW, AH_TREE_ECDSA_P256, &pair);
  CHECK_EQUAL(pass(&f, &signed_[0]), DECIDE_ACCEPT);
  struct built forged = with_ah(&plain, signer, SPI, 3);
  forged.bytes[forged.length - 1] ^= 1; /* another leaf, so another root */
  CHECK_EQUAL(forge(&f, &forged, BURST_OF_ALL + 1), BURST_OF_ALL);
  CHECK_EQUAL(pass(&f, &signed_[1]), DECIDE_ACCEPT);
  ah_key_destroy(signer);
  ah_scratch_destroy(scratch);
  tear_down(&f);
}

static int take_event(struct fixture *f, enum event_type type) {
  struct event event;
  return events_take(&f->engine->events, &event, 1) == 1 && event.type == type;
}

static void test_volume(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD), good = with_mac(&plain, SPI, 1, 1), forged = good;
  forged.bytes[forged.length - 1] ^= 1;
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, 100, mac_association(SPI, 1, PROTECT_STRIP), 0);
  CHECK_EQUAL(pass(&f, &forged), DECIDE_DROP);
  CHECK(!take_event(&f, EVENT_EXHAUSTED));
  CHECK_EQUAL(atomic_load(&entry_of(&f, FLOW)->over_volume), 0);
  CHECK_EQUAL(pass(&f, &good), DECIDE_DROP);
  CHECK(take_event(&f, EVENT_EXHAUSTED));
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_ICV), 1);
  CHECK_EQUAL(pass(&f, &forged), DECIDE_DROP); /* by now without a look at it */
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_ICV), 1);
  CHECK_EQUAL(count(&f, COUNTER_DROP_OVER_VOLUME), 2);
  tear_down(&f);
}

static void test_new_key(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD);
  struct built old[3], next = with_mac(&plain, SPI_NEXT, 2, 1);
  for (uint32_t i = 0; i < 3; i++) old[i] = with_mac(&plain, SPI, 1, i + 1);
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_STRIP), 0);
  CHECK_EQUAL(pass(&f, &old[0]), DECIDE_ACCEPT);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI_NEXT, 2, PROTECT_STRIP), old[0].length + 10);
  CHECK_EQUAL(pass(&f, &old[0]), DECIDE_DROP);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_REPLAYED), 1);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_DROP);
  CHECK_EQUAL(pass(&f, &old[1]), DECIDE_ACCEPT);
  CHECK_EQUAL(pass(&f, &old[2]), DECIDE_DROP); /* its bytes are used up */
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_SPI), 1);
  CHECK_EQUAL(pass(&f, &next), DECIDE_ACCEPT);
  tear_down(&f);
}

/* An association that comes back takes nothing twice. */
static void test_key_comes_back(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD);
  struct built packet = with_mac(&plain, SPI, 1, 1), later = with_mac(&plain, SPI, 1, 2);
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_STRIP), 0);
  CHECK_EQUAL(pass(&f, &packet), DECIDE_ACCEPT);
  permit_flow(f.engine, FLOW, PLENTY, NULL, PLENTY);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_STRIP), 0);
  CHECK_EQUAL(pass(&f, &packet), DECIDE_DROP);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_REPLAYED), 1);
  CHECK_EQUAL(pass(&f, &later), DECIDE_ACCEPT);
  tear_down(&f);
}

/* Packets that were on their way are still verified and stripped. */
static void test_lowered(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD);
  struct built packet = with_mac(&plain, SPI, 1, 1), forged = with_mac(&plain, SPI, 9, 2);
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_STRIP), 0);
  permit_flow(f.engine, FLOW, PLENTY, NULL, PLENTY);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_ACCEPT);
  CHECK_EQUAL(pass(&f, &forged), DECIDE_DROP);
  CHECK_EQUAL(pass(&f, &packet), DECIDE_ACCEPT);
  CHECK_EQUAL(f.last.length, plain.length);
  tear_down(&f);
}

/* Before the first association packets had none; the flow's counts go on. */
static void test_raised(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD), packet = with_mac(&plain, SPI, 1, 1);
  set_up(&f, 1);
  permit_flow(f.engine, FLOW, PLENTY, NULL, 0);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_ACCEPT);
  permit_flow(f.engine, FLOW, PLENTY, mac_association(SPI, 1, PROTECT_STRIP), plain.length);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_ACCEPT);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_DROP);
  CHECK_EQUAL(pass(&f, &packet), DECIDE_ACCEPT);
  CHECK_EQUAL(atomic_load(&entry_of(&f, FLOW)->packets), 3);
  tear_down(&f);
}

static void test_sequence_runs_out(void) {
  struct fixture f;
  struct built plain = flow_packet(FLOW, PAYLOAD);
  set_up(&f, 1);
  struct association *association = mac_association(SPI, 1, PROTECT_INSERT);
  permit_flow(f.engine, FLOW, PLENTY, association, 0);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_ACCEPT);
  CHECK(!take_event(&f, EVENT_REKEY));
  atomic_store(&association->sequence, AH_SEQUENCE_REKEY - 1);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_ACCEPT);
  CHECK(take_event(&f, EVENT_REKEY));
  atomic_store(&association->sequence, AH_SEQUENCE_LAST - 1);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_ACCEPT);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_DROP);
  CHECK_EQUAL(pass(&f, &plain), DECIDE_DROP);
  CHECK_EQUAL(count(&f, COUNTER_DROP_AH_NO_SEQUENCE), 2);
  CHECK(!take_event(&f, EVENT_REKEY));
  uint64_t later = f.now + NANOSECONDS_PER_SECOND;
  CHECK_EQUAL(association_mark(atomic_load(&protection_of(&f, FLOW)->current), later).sequence, AH_SEQUENCE_LAST);
  tear_down(&f);
}

int main(void) {
  test_there_and_back();
  test_cut_short();
  test_already_with_ah();
  test_too_long_to_hand_back();
  test_forgeries();
  test_forgeries_of_trees();
  test_volume();
  test_new_key();
  test_key_comes_back();
  test_lowered();
  test_raised();
  test_sequence_runs_out();
  return CHECK_RESULT();
}
