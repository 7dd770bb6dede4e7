#include "queue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
  COPY_HEADERS_BYTES = 192,
  COPY_ALL_BYTES = 65535,
  ATTRIBUTES_BYTES = 832, /* with room to spare */
  CONFIG_BYTES = 512,
  RECEIVE_BUFFER = 16 << 20,
  /* A message to the kernel is bounded by this; some packets that were changed fit into one. */
  SEND_BUFFER = 1 << 20,
  VERDICT_BYTES = 64,
  ROOM_FOR_VERDICTS = 8192,
  ROOM_FOR_PACKETS = 256 << 10,
  /* A send fails only when memory is short; then a short wait helps, or nothing does. */
  SEND_ATTEMPTS = 100,
};

struct queue_buffers {
  struct mmsghdr headers[QUEUE_BATCH];
  struct iovec vectors[QUEUE_BATCH];
  struct sockaddr_nl senders[QUEUE_BATCH];
  size_t message_bytes;
  int received; /* by the last call, which left lengths in that many headers */
  _Alignas(8) char bytes[]; /* QUEUE_BATCH messages */
};

static uint32_t copy_range(const struct queue *q) {
  return q->copy == QUEUE_COPY_ALL ? COPY_ALL_BYTES : COPY_HEADERS_BYTES;
}

static struct nlmsghdr *put_header(char *buffer, uint16_t number, uint8_t type, uint16_t flags) {
  struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = (NFNL_SUBSYS_QUEUE << 8) | type;
  message->nlmsg_flags = NLM_F_REQUEST | flags;
  struct nfgenmsg *general = mnl_nlmsg_put_extra_header(message, sizeof *general);
  general->nfgen_family = AF_UNSPEC;
  general->version = NFNETLINK_V0;
  general->res_id = htons(number);
  return message;
}

/* Sends one configuration message and waits for its acknowledgement. */
static int configure(struct queue *q, struct nlmsghdr *message) {
  char answer[MNL_SOCKET_BUFFER_SIZE];
  message->nlmsg_flags |= NLM_F_ACK;
  if (mnl_socket_sendto(q->socket, message, message->nlmsg_len) < 0) return -1;
  for (;;) {
    ssize_t length = recv(mnl_socket_get_fd(q->socket), answer, sizeof answer, 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return -1;
    const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
    if (length < (ssize_t)sizeof *header || header->nlmsg_type != NLMSG_ERROR) continue;
    const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
    if (error->error == 0) return 0;
    errno = -error->error;
    return -1;
  }
}

static int bind_queue(struct queue *q) {
  char buffer[CONFIG_BYTES];
  struct nlmsghdr *message = put_header(buffer, q->number, NFQNL_MSG_CONFIG, 0);
  struct nfqnl_msg_config_cmd command = {.command = NFQNL_CFG_CMD_BIND};
  mnl_attr_put(message, NFQA_CFG_CMD, sizeof command, &command);
  return configure(q, message);
}

/*
 * FAIL_OPEN stays off: what does not fit is dropped. GSO on where nothing is rewritten, so that segments stay together;
 * without it the kernel cuts them and finishes their checksums.
 */
static int set_limits(struct queue *q, uint32_t max_length) {
  char buffer[CONFIG_BYTES];
  struct nlmsghdr *message = put_header(buffer, q->number, NFQNL_MSG_CONFIG, 0);
  mnl_attr_put_u32(message, NFQA_CFG_QUEUE_MAXLEN, htonl(max_length));
  mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(q->copy == QUEUE_COPY_ALL ? 0 : NFQA_CFG_F_GSO));
  mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
  return configure(q, message);
}

/* From here on packets come. No acknowledgement is asked for: waiting for it would lose packets that come before it. */
static int start_packets(struct queue *q) {
  char buffer[CONFIG_BYTES];
  struct nlmsghdr *message = put_header(buffer, q->number, NFQNL_MSG_CONFIG, 0);
  struct nfqnl_msg_config_params params = {.copy_range = htonl(copy_range(q)), .copy_mode = NFQNL_COPY_PACKET};
  mnl_attr_put(message, NFQA_CFG_PARAMS, sizeof params, &params);
  return mnl_socket_sendto(q->socket, message, message->nlmsg_len) < 0 ? -1 : 0;
}

static char *message_at(struct queue_buffers *b, int index) { return b->bytes + (size_t)index * b->message_bytes; }

/* Large ones are taken from the system page by page, as packets fill them. */
static struct queue_buffers *make_buffers(uint32_t range) {
  size_t message_bytes = (range + ATTRIBUTES_BYTES + 7) & ~(size_t)7;
  struct queue_buffers *b = calloc(1, sizeof *b + QUEUE_BATCH * message_bytes);
  if (!b) return NULL;
  b->message_bytes = message_bytes;
  for (int i = 0; i < QUEUE_BATCH; i++) {
    b->vectors[i] = (struct iovec){.iov_base = message_at(b, i), .iov_len = message_bytes};
    b->headers[i].msg_hdr.msg_iov = &b->vectors[i];
    b->headers[i].msg_hdr.msg_iovlen = 1;
    b->headers[i].msg_hdr.msg_name = &b->senders[i];
    b->headers[i].msg_hdr.msg_namelen = sizeof b->senders[i];
  }
  return b;
}

static int open_socket(struct queue *q) {
  int on = 1, size = RECEIVE_BUFFER;
  q->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
  if (!q->socket || mnl_socket_bind(q->socket, 0, MNL_SOCKET_AUTOPID) < 0) return -1;
  /* Overflow shows in the kernel's counters; as an error of recv it would only cost time. */
  if (mnl_socket_setsockopt(q->socket, NETLINK_NO_ENOBUFS, &on, sizeof on) < 0) return -1;
  if (setsockopt(mnl_socket_get_fd(q->socket), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0) return -1;
  int send_size = SEND_BUFFER;
  return setsockopt(mnl_socket_get_fd(q->socket), SOL_SOCKET, SO_SNDBUFFORCE, &send_size, sizeof send_size);
}

static int set_up(struct queue *q, uint32_t max_length) {
  if (open_socket(q) < 0 || bind_queue(q) < 0) return -1;
  return set_limits(q, max_length) < 0 ? -1 : start_packets(q);
}

int queue_open(struct queue *q, uint16_t number, enum queue_copy copy, uint32_t max_length) {
  memset(q, 0, sizeof *q);
  q->number = number;
  q->copy = copy;
  q->buffers = make_buffers(copy_range(q));
  if (q->buffers && set_up(q, max_length) == 0) return 0;
  int error = errno;
  queue_close(q);
  errno = error;
  return -1;
}

void queue_close(struct queue *q) {
  if (q->socket) mnl_socket_close(q->socket);
  free(q->buffers);
  q->socket = NULL;
  q->buffers = NULL;
}

int queue_fd(const struct queue *q) { return mnl_socket_get_fd(q->socket); }

static uint32_t attribute_u32(const struct nlattr *attribute) {
  return mnl_attr_get_payload_len(attribute) == 4 ? ntohl(mnl_attr_get_u32(attribute)) : 0;
}

static void take_address(struct queued *out, const struct nlattr *attribute) {
  const struct nfqnl_msg_packet_hw *hardware = mnl_attr_get_payload(attribute);
  if (mnl_attr_get_payload_len(attribute) < sizeof *hardware) return;
  if (ntohs(hardware->hw_addrlen) == sizeof out->address) memcpy(out->address, hardware->hw_addr, sizeof out->address);
}

static void take_attribute(struct queued *out, const struct nlattr *attribute) {
  switch (mnl_attr_get_type(attribute)) {
    case NFQA_PAYLOAD:
      out->bytes = mnl_attr_get_payload(attribute);
      out->captured = mnl_attr_get_payload_len(attribute);
      return;
    case NFQA_CAP_LEN:
      out->full = attribute_u32(attribute);
      return;
    case NFQA_SKB_INFO:
      out->offloaded = (attribute_u32(attribute) & NFQA_SKB_GSO) != 0;
      return;
    case NFQA_MARK:
      out->mark = attribute_u32(attribute);
      return;
    case NFQA_IFINDEX_INDEV:
      out->interface = attribute_u32(attribute);
      return;
    case NFQA_HWADDR:
      take_address(out, attribute);
      return;
    default:
      return;
  }
}

/* 1 if the message is a packet whose number is known. Without payload it will be malformed, and dropped. */
static int read_packet(struct queued *out, const struct nlmsghdr *message) {
  const struct nlattr *attribute;
  int numbered = 0;
  memset(out, 0, sizeof *out);
  mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg)) {
    if (mnl_attr_get_type(attribute) == NFQA_PACKET_HDR &&
        mnl_attr_get_payload_len(attribute) >= sizeof(struct nfqnl_msg_packet_hdr)) {
      const struct nfqnl_msg_packet_hdr *header = mnl_attr_get_payload(attribute);
      out->id = ntohl(header->packet_id);
      out->hook = header->hook;
      numbered = 1;
      continue;
    }
    take_attribute(out, attribute);
  }
  if (out->full < out->captured) out->full = out->captured;
  return numbered;
}

static int is_packet(const struct nlmsghdr *message) {
  return message->nlmsg_type == ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET);
}

/* Only the kernel's word counts. A message cut short is left out: the gap makes sure that its packet is dropped. */
static int read_message(struct queue *q, int index, struct queued *out, struct counters *counters) {
  const struct mmsghdr *header = &q->buffers->headers[index];
  const struct nlmsghdr *message = (const struct nlmsghdr *)message_at(q->buffers, index);
  int from_kernel = header->msg_hdr.msg_namelen == sizeof(struct sockaddr_nl) && q->buffers->senders[index].nl_pid == 0;
  int whole = !(header->msg_hdr.msg_flags & MSG_TRUNC) && mnl_nlmsg_ok(message, (int)header->msg_len);
  if (from_kernel && whole && is_packet(message) && read_packet(out, message)) return 1;
  counters_add(counters, COUNTER_QUEUE_ERRORS, 1);
  return 0;
}

int queue_receive(struct queue *q, struct queued *out, struct counters *counters) {
  for (int i = 0; i < q->buffers->received; i++) q->buffers->headers[i].msg_hdr.msg_namelen = sizeof(struct sockaddr_nl);
  int received = recvmmsg(queue_fd(q), q->buffers->headers, QUEUE_BATCH, MSG_DONTWAIT, NULL);
  q->buffers->received = received < 0 ? 0 : received;
  if (received < 0) return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
  int packets = 0;
  for (int i = 0; i < received; i++) packets += read_message(q, i, &out[packets], counters);
  counters_add_packets(counters, (uint64_t)packets);
  return packets;
}

int verdicts_init(struct verdicts *v, struct queue *queue, int runs, struct counters *counters) {
  memset(v, 0, sizeof *v);
  v->queue = queue;
  v->runs = runs;
  v->counters = counters;
  v->expected = 1;
  v->room = queue->copy == QUEUE_COPY_ALL ? ROOM_FOR_PACKETS : ROOM_FOR_VERDICTS;
  v->buffer = malloc(v->room);
  return v->buffer ? 0 : -1;
}

void verdicts_destroy(struct verdicts *v) {
  free(v->buffer);
  v->buffer = NULL;
}

static int send_all(struct verdicts *v) {
  for (int attempt = 0; attempt < SEND_ATTEMPTS; attempt++) {
    if (mnl_socket_sendto(v->queue->socket, v->buffer, v->length) >= 0) return 0;
    if (errno == EINTR) continue;
    if (errno != ENOBUFS && errno != EAGAIN && errno != ENOMEM) return -1;
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
  }
  return -1;
}

static void send_buffer(struct verdicts *v) {
  if (v->length > 0 && !v->failed && send_all(v) < 0) v->failed = errno;
  v->length = 0;
}

static struct nlmsghdr *begin_verdict(struct verdicts *v, uint8_t type, uint32_t id, uint32_t verdict, size_t payload) {
  if (v->length + VERDICT_BYTES + payload > v->room) send_buffer(v);
  struct nlmsghdr *message = put_header(v->buffer + v->length, v->queue->number, type, 0);
  struct nfqnl_msg_verdict_hdr header = {.verdict = htonl(verdict), .id = htonl(id)};
  mnl_attr_put(message, NFQA_VERDICT_HDR, sizeof header, &header);
  return message;
}

static void write_verdict(struct verdicts *v, uint8_t type, uint32_t id, uint32_t verdict, uint32_t mark) {
  struct nlmsghdr *message = begin_verdict(v, type, id, verdict, 0);
  if (mark != 0) mnl_attr_put_u32(message, NFQA_MARK, htonl(mark));
  v->length += MNL_ALIGN(message->nlmsg_len);
}

static void close_run(struct verdicts *v) {
  if (!v->pending) return;
  v->pending = 0;
  write_verdict(v, NFQNL_MSG_VERDICT_BATCH, v->last, v->verdict, v->mark);
}

/* A run's verdict falls on all packets before it too, so one that was never seen here must be dropped first. */
static void drop_unseen(struct verdicts *v, uint32_t id, uint32_t verdict) {
  if (id == v->expected) return;
  counters_add(v->counters, COUNTER_QUEUE_GAPS, 1);
  if (verdict == NF_DROP) return;
  close_run(v);
  write_verdict(v, NFQNL_MSG_VERDICT_BATCH, id - 1, NF_DROP, 0);
}

void verdicts_add(struct verdicts *v, uint32_t id, uint32_t verdict, uint32_t mark) {
  if (!v->runs) {
    write_verdict(v, NFQNL_MSG_VERDICT, id, verdict, mark);
    return;
  }
  drop_unseen(v, id, verdict);
  v->expected = id + 1;
  if (v->pending && (v->verdict != verdict || v->mark != mark)) close_run(v);
  v->pending = 1;
  v->verdict = verdict;
  v->mark = mark;
  v->last = id;
}

/* With a length that overflows its field the kernel would accept the packet as it was. */
void verdicts_add_changed(struct verdicts *v, uint32_t id, uint32_t mark, const uint8_t *bytes, size_t length) {
  if (length > QUEUE_PACKET_MAX) {
    verdicts_add(v, id, NF_DROP, 0);
    return;
  }
  if (v->runs) {
    drop_unseen(v, id, NF_ACCEPT);
    close_run(v);
    v->expected = id + 1;
  }
  struct nlmsghdr *message = begin_verdict(v, NFQNL_MSG_VERDICT, id, NF_ACCEPT, length);
  mnl_attr_put(message, NFQA_PAYLOAD, length, bytes);
  if (mark != 0) mnl_attr_put_u32(message, NFQA_MARK, htonl(mark));
  v->length += MNL_ALIGN(message->nlmsg_len);
}

int verdicts_flush(struct verdicts *v) {
  close_run(v);
  send_buffer(v);
  if (!v->failed) return 0;
  errno = v->failed;
  return -1;
}
