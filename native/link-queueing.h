#ifndef PBS_LINK_QUEUEING_H
#define PBS_LINK_QUEUEING_H

#include <stddef.h>

enum { QUEUEING_ROOM = 32 };

/*
 * Kind of the queueing discipline at an interface's root, such as "fq_codel", as a string in `room` bytes; empty when the kernel
 * does not say. 0 or -1 with errno.
 */
int link_queueing(unsigned interface, char *out, size_t room);

#endif
