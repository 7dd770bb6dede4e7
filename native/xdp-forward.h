/*
 * A thread that forwards packets with AH: XDP programs hand them over with the next hop's addresses in place, the thread
 * verifies them by the same table and associations as the queues do, and sends them out without the stack.
 */
#ifndef PBS_XDP_FORWARD_H
#define PBS_XDP_FORWARD_H

#include "engine.h"

struct forwarder;

/* `engine` must outlast it. NULL with errno. */
struct forwarder *forwarder_start(struct engine *engine);

/* Ends the thread and waits for it. */
void forwarder_stop(struct forwarder *forwarder);

/*
 * Receives from an interface's queues, and sends by it. `map` is the XSKMAP of the interface's program, which may be another
 * than before. Returns how many queues are served, or -1 with errno: ENOSPC when others have all XSK_SOCKETS.
 */
int forwarder_add(struct forwarder *forwarder, unsigned interface, int map);

/* No longer. What is not served is left to the stack. */
void forwarder_remove(struct forwarder *forwarder, unsigned interface);

/* Packets that it had no place for. For the thread that adds and removes. */
uint64_t forwarder_lost(const struct forwarder *forwarder);

#endif
