/*
 * The kernel sets of permitted flows, and of those among them into which AH is put: type hash:ip,port,ip with source
 * address, protocol and destination port, and destination address. They decide nothing; they keep what is not permitted
 * out of the queues. Beside them the sets of known hosts: type hash:ip, the sources of such flows, whose signalling goes
 * first. Made by somebody else.
 */
#ifndef PBS_IPSET_H
#define PBS_IPSET_H

#include <libmnl/libmnl.h>
#include <stdint.h>

#include "flow.h"

enum { SET_NAME_BYTES = 32, SET_BUFFER_BYTES = 32768 };

/* One message to the kernel that grows until it is sent. */
struct set_batch {
  char name[SET_NAME_BYTES];
  int sources; /* of source addresses alone; what the kernel does not take of them is left out */
  uint8_t family;
  struct nlmsghdr *message; /* NULL: nothing in it */
  struct nlattr *list;
  char buffer[SET_BUFFER_BYTES];
};

enum kernel_set { SET_PERMITTED, SET_INSERT, SET_KNOWN, SET_COUNT };

struct kernel_sets {
  struct mnl_socket *socket; /* NULL: no sets */
  uint32_t sequence;
  struct set_batch batch4[SET_COUNT], batch6[SET_COUNT];
  const char *failed; /* name of the set of the last error */
};

/* Names of the sets, by kind and family (IPv4, IPv6). */
typedef char kernel_set_names[SET_COUNT][2][SET_NAME_BYTES];

/* 0, or -1 with errno. Whether the sets exist shows only when something is added. */
int kernel_sets_open(struct kernel_sets *sets, const kernel_set_names names);
void kernel_sets_close(struct kernel_sets *sets);

/*
 * Puts the flow into the batch, and sends the batch when it is full. An echo flow takes two elements, request and
 * reply. 0, or -1 with errno: ENOENT if the set does not exist, or one of the kernel's set errors above 4095.
 */
int kernel_sets_add(struct kernel_sets *sets, enum kernel_set which, const struct flow_key *key);

/* Sends what is left. When it returns 0 every flow added so far is in its set. After an error nothing is left. */
int kernel_sets_flush(struct kernel_sets *sets);

#endif
