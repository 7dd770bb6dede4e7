/* A TUN device as relays need it. */
#ifndef PBS_RELAY_DEVICE_H
#define PBS_RELAY_DEVICE_H

#include <stdint.h>

/*
 * Makes a device that is up and says nothing by itself. One that receives takes packets from any source. Descriptor, not
 * blocking; or -1 with errno. The device is gone when it is closed.
 */
int relay_device_open(const char *name, uint32_t mtu, int receives);

/* 0, or -1 with errno. */
int relay_device_resize(const char *name, uint32_t mtu);

#endif
