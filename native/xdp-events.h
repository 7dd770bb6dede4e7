/* A thread that hands what the programs raise to the engine's events. */
#ifndef PBS_XDP_EVENTS_H
#define PBS_XDP_EVENTS_H

#include "events.h"

struct xdp_listener;

/* Listens to a ring-buffer map; `events` must outlast the listener. NULL with errno. */
struct xdp_listener *xdp_listen(int map, struct events *events);

/* Ends the thread and waits for it. */
void xdp_listener_stop(struct xdp_listener *listener);

#endif
