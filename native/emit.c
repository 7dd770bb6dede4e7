#include "emit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ah-walk.h"

enum { FRAGMENT_HEADER = 8, MORE_FRAGMENTS = 1, SEND_BUFFER = 4 << 20 };

/* IP_PMTUDISC_PROBE: only the link's own size counts. */
static int open_raw(int family, int level, int option, int probe) {
  int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
  if (fd < 0) return -1;
  int none = 0, size = SEND_BUFFER;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &none, sizeof none);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  if (setsockopt(fd, level, option, &probe, sizeof probe) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int emitter_open(struct emitter *e) {
  e->socket6 = -1;
  e->socket4 = open_raw(AF_INET, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  if (e->socket4 < 0) return -1;
  e->socket6 = open_raw(AF_INET6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  if (e->socket6 < 0 && errno != EAFNOSUPPORT) return -1;
  return RAND_bytes((uint8_t *)&e->identification, sizeof e->identification) == 1 ? 0 : -1;
}

void emitter_close(struct emitter *e) {
  if (e->socket4 >= 0) close(e->socket4);
  if (e->socket6 >= 0) close(e->socket6);
  e->socket4 = e->socket6 = -1;
}

/* Room for the two of them, aligned as the kernel wants it. */
union control {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void put_control(struct cmsghdr *header, int level, int type, const void *value, size_t length) {
  *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(length), .cmsg_level = level, .cmsg_type = type};
  memcpy(CMSG_DATA(header), value, length);
}

/* The source, so that rules for it choose the way as they do for the host's other packets; the header's own is not looked at. */
static size_t put_source(struct cmsghdr *header, const uint8_t *bytes, int is4) {
  struct in_pktinfo from4 = {0};
  struct in6_pktinfo from6 = {0};
  if (is4) {
    memcpy(&from4.ipi_spec_dst, bytes + 12, 4);
    put_control(header, IPPROTO_IP, IP_PKTINFO, &from4, sizeof from4);
    return CMSG_SPACE(sizeof from4);
  }
  memcpy(&from6.ipi6_addr, bytes + 8, 16);
  put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &from6, sizeof from6);
  return CMSG_SPACE(sizeof from6);
}

static int send_one(struct emitter *e, const uint8_t *bytes, size_t length, uint32_t mark) {
  struct sockaddr_in to4 = {.sin_family = AF_INET};
  struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
  union control control = {0};
  int is4 = bytes[0] >> 4 == 4;
  struct iovec vector = {(void *)(uintptr_t)bytes, length};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  memcpy(&to4.sin_addr, bytes + 16, 4);
  if (!is4) memcpy(&to6.sin6_addr, bytes + 24, 16);
  message.msg_name = is4 ? (void *)&to4 : (void *)&to6;
  message.msg_namelen = is4 ? sizeof to4 : sizeof to6;
  put_control(&control.header, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
  size_t source = put_source(CMSG_NXTHDR(&message, &control.header), bytes, is4);
  message.msg_controllen = CMSG_SPACE(sizeof mark) + source;
  return sendmsg(is4 ? e->socket4 : e->socket6, &message, MSG_DONTWAIT) < 0 ? -1 : 0;
}

int fragment_next(struct fragment *out, const uint8_t *bytes, size_t length, size_t at, size_t next_field,
                  uint32_t limit, uint32_t identification, size_t *offset) {
  size_t left = length - at - *offset, most = limit < sizeof out->bytes ? limit : sizeof out->bytes;
  if (left == 0 || most < at + FRAGMENT_HEADER + FRAGMENT_HEADER) return 0;
  size_t room = (most - at - FRAGMENT_HEADER) / 8 * 8;
  size_t part = left < room ? left : room;
  uint8_t *header = out->bytes + at;
  memcpy(out->bytes, bytes, at);
  out->bytes[next_field] = IPPROTO_FRAGMENT;
  header[0] = bytes[next_field];
  header[1] = 0;
  ah_write16(header + 2, *offset | (part < left ? MORE_FRAGMENTS : 0));
  ah_write32(header + 4, identification);
  memcpy(header + FRAGMENT_HEADER, bytes + at + *offset, part);
  out->length = at + FRAGMENT_HEADER + part;
  ah_write_length(out->bytes, out->length);
  *offset += part;
  return 1;
}

/* AH, and what stands behind it, is what may be cut (RFC 8200 section 4.5). */
static int send_fragments(struct emitter *e, const uint8_t *bytes, size_t length, uint32_t limit, uint32_t mark) {
  struct fragment fragment;
  struct ah_place place;
  size_t offset = 0;
  if (ah_find(&place, bytes, length) != AH_OK) {
    errno = EINVAL;
    return -1;
  }
  e->identification++;
  while (fragment_next(&fragment, bytes, length, place.at, place.next_field, limit, e->identification, &offset))
    if (send_one(e, fragment.bytes, fragment.length, mark) < 0) return -1;
  if (place.at + offset == length) return 0;
  errno = EMSGSIZE;
  return -1;
}

int emitter_send(struct emitter *e, const uint8_t *bytes, size_t length, uint32_t limit, uint32_t mark) {
  mark |= SENT_MARK;
  return bytes[0] >> 4 == 6 && length > limit ? send_fragments(e, bytes, length, limit, mark)
                                              : send_one(e, bytes, length, mark);
}
