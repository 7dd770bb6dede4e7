#include "hold.h"

#include <stdlib.h>

#define NOTHING UINT32_MAX

static uint32_t bucket_mask(uint32_t capacity) {
  uint32_t size = 16;
  while (size < capacity) size *= 2;
  return size - 1;
}

int hold_init(struct hold *h, uint32_t capacity, uint32_t per_flow, uint64_t time) {
  memset(h, 0, sizeof *h);
  h->capacity = capacity;
  h->per_flow = per_flow;
  h->time = time;
  h->mask = bucket_mask(capacity);
  h->packets = calloc(capacity, sizeof *h->packets);
  h->flows = calloc(capacity, sizeof *h->flows);
  h->buckets = malloc(((size_t)h->mask + 1) * sizeof *h->buckets);
  if (!h->packets || !h->flows || !h->buckets) {
    hold_destroy(h);
    return -1;
  }
  memset(h->buckets, 0xff, ((size_t)h->mask + 1) * sizeof *h->buckets);
  for (uint32_t i = 0; i < capacity; i++) h->packets[i].next = h->flows[i].next = i + 1 < capacity ? i + 1 : NOTHING;
  h->free_packet = h->free_flow = 0;
  h->oldest = h->newest = NOTHING;
  return 0;
}

void hold_destroy(struct hold *h) {
  free(h->packets);
  free(h->flows);
  free(h->buckets);
  memset(h, 0, sizeof *h);
}

static uint32_t find_flow(const struct hold *h, const struct flow_key *key, uint64_t hash) {
  uint32_t flow = h->buckets[hash & h->mask];
  while (flow != NOTHING && !flow_key_equal(&h->flows[flow].key, key)) flow = h->flows[flow].next;
  return flow;
}

/* There are as many flow slots as packet slots, so one is free whenever a packet slot is. */
static uint32_t add_flow(struct hold *h, const struct flow_key *key, uint64_t hash) {
  uint32_t number = h->free_flow;
  struct held_flow *flow = &h->flows[number];
  h->free_flow = flow->next;
  flow->key = *key;
  flow->first = flow->last = NOTHING;
  flow->count = 0;
  flow->bucket = (uint32_t)(hash & h->mask);
  flow->next = h->buckets[flow->bucket];
  h->buckets[flow->bucket] = number;
  return number;
}

static void forget_flow(struct hold *h, uint32_t number) {
  struct held_flow *flow = &h->flows[number];
  uint32_t *link = &h->buckets[flow->bucket];
  while (*link != number) link = &h->flows[*link].next;
  *link = flow->next;
  flow->next = h->free_flow;
  h->free_flow = number;
}

static void append(struct hold *h, uint32_t flow_number, uint32_t number) {
  struct held_flow *flow = &h->flows[flow_number];
  struct held_packet *held = &h->packets[number];
  held->flow = flow_number;
  held->next = NOTHING;
  if (flow->last == NOTHING) flow->first = number;
  else h->packets[flow->last].next = number;
  flow->last = number;
  flow->count++;
  held->later = NOTHING;
  held->earlier = h->newest;
  if (h->newest == NOTHING) h->oldest = number;
  else h->packets[h->newest].later = number;
  h->newest = number;
  h->count++;
}

enum hold_result hold_add(struct hold *h, const struct packet *packet, uint64_t hash, uint32_t id, uint32_t mark,
                          uint64_t now) {
  uint32_t flow = find_flow(h, &packet->key, hash);
  int known = flow != NOTHING;
  if (known && h->flows[flow].count >= h->per_flow) return HOLD_FLOW_FULL;
  if (h->count == h->capacity) return HOLD_FULL;
  if (!known) flow = add_flow(h, &packet->key, hash);
  uint32_t number = h->free_packet;
  struct held_packet *held = &h->packets[number];
  h->free_packet = held->next;
  held->packet = *packet;
  held->id = id;
  held->mark = mark;
  held->deadline = now + h->time;
  append(h, flow, number);
  return known ? HOLD_MORE : HOLD_FIRST;
}

static void unlink_from_all(struct hold *h, const struct held_packet *held) {
  if (held->earlier == NOTHING) h->oldest = held->later;
  else h->packets[held->earlier].later = held->later;
  if (held->later == NOTHING) h->newest = held->earlier;
  else h->packets[held->later].earlier = held->earlier;
}

/* Oldest of all is oldest of its flow too, so packets are only ever taken from the front of a flow. */
static void take_first(struct hold *h, uint32_t flow_number, struct held_packet *out) {
  struct held_flow *flow = &h->flows[flow_number];
  uint32_t number = flow->first;
  struct held_packet *held = &h->packets[number];
  *out = *held;
  unlink_from_all(h, held);
  flow->first = held->next;
  if (flow->first == NOTHING) flow->last = NOTHING;
  flow->count--;
  h->count--;
  held->next = h->free_packet;
  h->free_packet = number;
  if (flow->count == 0) forget_flow(h, flow_number);
}

int hold_take(struct hold *h, const struct flow_key *key, uint64_t hash, struct held_packet *out) {
  uint32_t flow = find_flow(h, key, hash);
  if (flow == NOTHING) return 0;
  take_first(h, flow, out);
  return 1;
}

int hold_take_overdue(struct hold *h, uint64_t now, struct held_packet *out) {
  if (hold_deadline(h) > now) return 0;
  take_first(h, h->packets[h->oldest].flow, out);
  return 1;
}

uint64_t hold_deadline(const struct hold *h) {
  return h->oldest == NOTHING ? UINT64_MAX : h->packets[h->oldest].deadline;
}
