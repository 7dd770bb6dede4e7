#include "narrow.h"

#include <netinet/in.h>
#include <string.h>

#include "ah-walk.h"
#include "clock.h"
#include "too-big.h"

enum {
  IPV4_DF = 0x40,        /* in the first byte of flags and fragment offset */
  RECENT_NUMBERS = 65536, /* behind the last one sent: more than are on their way at a time */
};

/*
 * Of messages that know an association and a recent number. Who sees the packets of one flow can send any number of them;
 * beyond what all share, each association keeps some of its own, so that the others lose nothing by that.
 */
static const struct allowance_rate messages_of_all = {NANOSECONDS_PER_SECOND / 200, 100};
static const struct allowance_rate messages_of_one = {NANOSECONDS_PER_SECOND / 2, 4};

int narrow_init(struct narrow *n) { return notes_init(&n->notes); }

void narrow_destroy(struct narrow *n) { notes_destroy(&n->notes); }

void narrow_sent(struct narrow *n, uint32_t spi, const struct packet *packet, const uint8_t *bytes) {
  notes_put(&n->notes, spi, &packet->key, packet->key.protocol == IPPROTO_TCP ? bytes + packet->ip_header : NULL);
}

/* ---- Packets ---- */

/* A datagram that may be cut needs one; and the kernel gives one to what comes without, after the ICV was made. */
static void identify(struct narrow *n, uint8_t *bytes) {
  if (bytes[4] != 0 || bytes[5] != 0) return;
  n->identification++;
  if (n->identification == 0) n->identification = 1;
  ah_write16(bytes + 4, n->identification);
}

enum passage {
  PASSAGE_BACK, /* the kernel cuts it if it must */
  PASSAGE_EMIT,
  PASSAGE_TOO_BIG,
};

static enum passage passage_ipv4(struct narrow *n, const struct way *way, const struct packet *packet, uint8_t *bytes,
                                 uint32_t room) {
  if (!(bytes[6] & IPV4_DF)) return PASSAGE_BACK;
  identify(n, bytes);
  if (way_is_too_narrow(way, room)) {
    bytes[6] &= (uint8_t)~IPV4_DF;
    return PASSAGE_BACK;
  }
  return packet->length > way_room(way, room) ? PASSAGE_TOO_BIG : PASSAGE_EMIT;
}

/* What is larger than the kernel was told is a datagram that it will cut, or a segment that it has to make anew. */
static enum passage passage_ipv6(const struct way *way, const struct packet *packet, uint32_t room) {
  if (packet->length <= way_room(way, room)) return PASSAGE_EMIT;
  return packet->key.protocol == IPPROTO_TCP ? PASSAGE_TOO_BIG : PASSAGE_BACK;
}

static size_t tell_sender(struct way *way, const struct packet *packet, const uint8_t *bytes, uint32_t room,
                          uint64_t now, uint8_t *out) {
  struct too_big_notice notice = {
      .family = packet->key.family,
      .protocol = packet->key.protocol,
      .from = packet->key.source,
      .to = packet->key.source,
      .destination = packet->key.destination,
      .length = packet->length,
      .mtu = (uint16_t)way_room(way, room),
      .inner = bytes + packet->ip_header,
      .inner_length = packet->length - packet->ip_header,
  };
  way_tell(way, now);
  return too_big_write(out, &notice);
}

size_t narrow_fit(struct narrow *n, enum ah_algorithm algorithm, const struct packet *packet, uint8_t *bytes,
                  uint64_t now, uint32_t *emit, uint8_t *out) {
  int family = packet->key.family;
  struct way *way = ways_find(&n->ways, packet->key.family, packet->key.destination, now);
  *emit = 0;
  if (!way) return 0;
  uint32_t room = (uint32_t)ah_length_max(algorithm, family);
  enum passage passage = family == 4 ? passage_ipv4(n, way, packet, bytes, room) : passage_ipv6(way, packet, room);
  if (passage == PASSAGE_EMIT) *emit = way->limit;
  return passage == PASSAGE_TOO_BIG ? tell_sender(way, packet, bytes, room, now, out) : 0;
}

/* ---- Messages ---- */

static int inserts_with(const struct association *a, uint32_t spi) {
  return a && a->action == PROTECT_INSERT && a->spi == spi;
}

static struct association *sender_of(const struct judge *judge, const struct note *note, uint64_t now) {
  struct packet packet = {.key = note->key};
  struct protection *protection = NULL;
  judge_find(judge, &packet, table_hash(judge->table, &note->key), now, &protection);
  if (!protection) return NULL;
  struct association *current = atomic_load(&protection->current);
  if (inserts_with(current, note->spi)) return current;
  struct association *previous = atomic_load(&protection->previous);
  return inserts_with(previous, note->spi) ? previous : NULL;
}

/* Who did not see a packet would have to guess both; an IPv4 router that quotes too little knows the SPI at least. */
static int was_sent_lately(struct association *a, const struct too_big *t) {
  uint64_t last = atomic_load_explicit(&a->sequence, memory_order_relaxed);
  if (last == 0) return 0;
  if (!t->has_sequence) return t->family == 4;
  return t->sequence != 0 && t->sequence <= last && last - t->sequence < RECENT_NUMBERS;
}

/* What the kernel needs to find the socket: the ports, and a sequence number that TCP takes for one of its own. */
static size_t rebuild(uint8_t inner[TOO_BIG_INNER_LEAST], const struct note *note) {
  memset(inner, 0, TOO_BIG_INNER_LEAST);
  memcpy(inner, &note->key.source_port, 2);
  memcpy(inner + 2, &note->key.destination_port, 2);
  if (note->key.protocol == IPPROTO_TCP) ah_write32(inner + 4, note->tcp_sequence);
  return TOO_BIG_INNER_LEAST;
}

static size_t translate(const struct too_big *t, const struct note *note, uint32_t mtu, uint8_t *out) {
  uint8_t rebuilt[TOO_BIG_INNER_LEAST];
  int whole = t->inner_length >= TOO_BIG_INNER_LEAST;
  struct too_big_notice notice = {
      .family = t->family,
      .protocol = whole ? t->next : note->key.protocol,
      .from = t->router,
      .to = t->source,
      .destination = t->destination,
      .length = t->length - t->ah_length,
      .mtu = (uint16_t)mtu,
      .inner = whole ? t->inner : rebuilt,
      .inner_length = whole ? t->inner_length : rebuild(rebuilt, note),
  };
  return too_big_write(out, &notice);
}

/*
 * This host's own kernel checks against what it was told, too. Taken for news, that would be told again with AH subtracted once
 * more, and so on down.
 */
static int is_echo(struct narrow *n, const struct too_big *t, const struct note *note, uint32_t room, uint64_t now) {
  const struct way *way = ways_find(&n->ways, t->family, note->key.destination, now);
  int own = memcmp(t->router, t->source, t->family == 4 ? 4 : 16) == 0;
  return own && way && t->mtu >= way_room(way, room) && t->mtu < way->limit;
}

static int take_turn(struct narrow *n, struct association *a, uint64_t now) {
  int left = allowance_left(&n->messages, &messages_of_all, now) || allowance_left(&a->messages, &messages_of_one, now);
  if (!left) return 0;
  allowance_take(&n->messages, &messages_of_all, now);
  allowance_take(&a->messages, &messages_of_one, now);
  return 1;
}

static enum counter learn(struct narrow *n, const struct judge *judge, const struct too_big *t, uint64_t now,
                          uint8_t *out, size_t *made) {
  const struct note *note = notes_find(&n->notes, t->spi, t->family, t->source, t->destination);
  if (!note) return COUNTER_TOO_BIG_OTHER;
  struct association *association = sender_of(judge, note, now);
  if (!association || !was_sent_lately(association, t)) return COUNTER_DROP_TOO_BIG_IMPLAUSIBLE;
  uint32_t room = (uint32_t)ah_length_max(association->algorithm, t->family);
  if (is_echo(n, t, note, room, now)) return COUNTER_DROP_TOO_BIG_IMPLAUSIBLE;
  if (!take_turn(n, association, now)) return COUNTER_DROP_TOO_BIG_RATE;
  struct way *way = ways_learn(&n->ways, t->family, note->key.destination, t->mtu, now);
  way_tell(way, now);
  *made = translate(t, note, way_room(way, room), out);
  return COUNTER_TOO_BIG_TOLD;
}

enum counter narrow_translate(struct narrow *n, const struct judge *judge, const uint8_t *bytes, size_t length,
                              uint64_t now, uint8_t *out, size_t *made) {
  struct too_big t;
  *made = 0;
  switch (too_big_read(&t, bytes, length)) {
    case TOO_BIG_OK:
      return learn(n, judge, &t, now, out, made);
    case TOO_BIG_OTHER:
      return COUNTER_TOO_BIG_OTHER;
    case TOO_BIG_IMPLAUSIBLE:
      return COUNTER_DROP_TOO_BIG_IMPLAUSIBLE;
    default:
      return COUNTER_DROP_TOO_BIG_MALFORMED;
  }
}
