/*
 * Packets through a relay: what the kernel routes into a TUN device goes, whole, in UDP datagrams to another host, which
 * puts what comes out of its own TUN device into its stack. A datagram is an IP packet and nothing else (variant 1 of Generic
 * UDP Encapsulation, draft-ietf-intarea-gue), so IPv4 and IPv6 tell themselves apart. One direction; a thread for each.
 */
#ifndef PBS_RELAY_H
#define PBS_RELAY_H

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct relay;

enum relay_counter {
  RELAY_PACKETS,
  RELAY_MALFORMED, /* no IP packet, or longer than RELAY_PACKET_BYTES */
  RELAY_UNSENT,    /* the kernel did not take it */
  RELAY_COUNTERS,
};

enum {
  RELAY_PACKET_BYTES = 9216,
  RELAY_LEAST_MTU = 1280, /* of a device with IPv6; over a narrower path the datagrams are cut */
};

struct relay_options {
  char device[IFNAMSIZ]; /* made, and gone with the process at the latest */
  struct sockaddr_storage to; /* ss_family 0: packets come from anybody to `port` */
  uint16_t port;
};

/* NULL with errno. */
struct relay *relay_open(const struct relay_options *options);

/* Ends the thread and takes the device away. */
void relay_close(struct relay *relay);

uint64_t relay_count(const struct relay *relay, enum relay_counter counter);

/* Of the device; it follows what is known of the path to the other host. */
uint32_t relay_mtu(const struct relay *relay);

/* Whether these bytes, of which none is missing, may be an IP packet. The kernel checks the rest. */
int relay_is_packet(const uint8_t *bytes, size_t length);

/* What of a datagram of `path_mtu` bytes is left for a packet, within the bounds of the device. */
uint32_t relay_room(int family, uint32_t path_mtu);

#endif
