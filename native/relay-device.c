#include "relay-device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 512, LOOSE = 2 };

/* 192.0.0.8, which RFC 7600 section 4.8 sets aside. */
#define DUMMY_ADDRESS 0xc0000008U

static int ask_kernel(struct nlmsghdr *request) {
  char answer[REQUEST_BYTES];
  struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (!socket) return -1;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request->nlmsg_seq = (uint32_t)time(NULL);
  ssize_t length = -1;
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
      mnl_socket_sendto(socket, request, request->nlmsg_len) >= 0)
    length = mnl_socket_recvfrom(socket, answer, sizeof answer);
  int result = length < 0 ? -1 : mnl_cb_run(answer, (size_t)length, request->nlmsg_seq, mnl_socket_get_portid(socket), NULL, NULL);
  int error = errno;
  mnl_socket_close(socket);
  errno = error;
  return result < 0 ? -1 : 0;
}

static struct nlmsghdr *change_of(const char *name, char *buffer) {
  struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = RTM_NEWLINK;
  struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof *link);
  link->ifi_index = (int)if_nametoindex(name);
  return header;
}

int relay_device_resize(const char *name, uint32_t mtu) {
  char buffer[REQUEST_BYTES] = {0};
  struct nlmsghdr *request = change_of(name, buffer);
  mnl_attr_put_u32(request, IFLA_MTU, mtu);
  return ask_kernel(request);
}

/*
 * Where sources are checked at all, an interface without an address takes none that is routed elsewhere. With the scope of a
 * host nobody takes this address for a source.
 */
static int have_dummy_address(const char *name) {
  char buffer[REQUEST_BYTES] = {0};
  struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
  request->nlmsg_type = RTM_NEWADDR;
  struct ifaddrmsg *address = mnl_nlmsg_put_extra_header(request, sizeof *address);
  address->ifa_family = AF_INET;
  address->ifa_prefixlen = 32;
  address->ifa_scope = RT_SCOPE_HOST;
  address->ifa_index = if_nametoindex(name);
  mnl_attr_put_u32(request, IFA_LOCAL, htonl(DUMMY_ADDRESS));
  mnl_attr_put_u32(request, IFA_ADDRESS, htonl(DUMMY_ADDRESS));
  return ask_kernel(request);
}

/* What comes out of it has sources that are routed elsewhere. By netlink, as a service may not write to /proc/sys. */
static int take_any_source(const char *name) {
  char buffer[REQUEST_BYTES] = {0};
  struct nlmsghdr *request = change_of(name, buffer);
  struct nlattr *families = mnl_attr_nest_start(request, IFLA_AF_SPEC);
  struct nlattr *inet = mnl_attr_nest_start(request, AF_INET);
  struct nlattr *settings = mnl_attr_nest_start(request, IFLA_INET_CONF);
  mnl_attr_put_u32(request, IPV4_DEVCONF_RP_FILTER, LOOSE);
  mnl_attr_nest_end(request, settings);
  mnl_attr_nest_end(request, inet);
  mnl_attr_nest_end(request, families);
  return ask_kernel(request) < 0 ? -1 : have_dummy_address(name);
}

/* Else the kernel would look for routers and neighbours through the relay. Without IPv6 there is nothing to say. */
static void be_quiet(const char *name) {
  char buffer[REQUEST_BYTES] = {0};
  struct nlmsghdr *request = change_of(name, buffer);
  struct nlattr *families = mnl_attr_nest_start(request, IFLA_AF_SPEC);
  struct nlattr *inet6 = mnl_attr_nest_start(request, AF_INET6);
  mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  mnl_attr_nest_end(request, inet6);
  mnl_attr_nest_end(request, families);
  ask_kernel(request);
}

static int bring_up(const char *name) {
  char buffer[REQUEST_BYTES] = {0};
  struct nlmsghdr *request = change_of(name, buffer);
  struct ifinfomsg *link = mnl_nlmsg_get_payload(request);
  link->ifi_flags = link->ifi_change = IFF_UP;
  return ask_kernel(request);
}

int relay_device_open(const char *name, uint32_t mtu, int receives) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -1;
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(fd, TUNSETIFF, &request) == 0 && relay_device_resize(name, mtu) == 0 &&
      (!receives || take_any_source(name) == 0)) {
    be_quiet(name);
    if (bring_up(name) == 0) return fd;
  }
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}
