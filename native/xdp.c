#include "xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROGRAM "pbs_router"
#define SEGMENTS_PROGRAM "pbs_segments"

enum { RING_BYTES = 1 << 18, EGRESS_INTERFACES = 1024, BLOCKED_SOURCES = 1 << 17, BLOCKED_PLACES = 1024, MAPS_OF_A_PROGRAM = 32 };

/* As in Linux 6.6 and newer. */
enum { TCX_INGRESS = 46, TCX_PROGRAMS = 64 };

static const struct {
  const char *name;
  enum bpf_map_type type;
  uint32_t key_size, value_size, flags;
} MAPS[XDP_MAPS] = {
    [XDP_CONTROL] = {"pbs_control", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct table_control), BPF_F_MMAPABLE},
    [XDP_INDEX] = {"pbs_index", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct bucket), BPF_F_MMAPABLE},
    [XDP_ENTRIES] = {"pbs_entries", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct entry), BPF_F_MMAPABLE},
    [XDP_PROCESSORS] = {"pbs_processors", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct xdp_processor), BPF_F_MMAPABLE},
    [XDP_PLACES] = {"pbs_places", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct places), BPF_F_MMAPABLE},
    [XDP_EVENTS] = {"pbs_events", BPF_MAP_TYPE_RINGBUF, 0, 0, 0},
    [XDP_EGRESS] = {"pbs_egress", BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 0},
    [XDP_SHAPED] = {"pbs_shaped", BPF_MAP_TYPE_HASH, 4, 4, 0},
    [XDP_SERVED] = {"pbs_served", BPF_MAP_TYPE_HASH, 4, 4, 0},
    [XDP_BLOCKED] = {"pbs_blocked", BPF_MAP_TYPE_HASH, sizeof(struct xdp_source), 8, BPF_F_NO_PREALLOC},
    [XDP_OFF_PATH] = {"pbs_off_path", BPF_MAP_TYPE_HASH, sizeof(struct xdp_off_path), 8, BPF_F_NO_PREALLOC},
};

static uint32_t map_entries(const struct xdp *x, enum xdp_map which) {
  uint64_t buckets, entries;
  table_sizes(x->options.capacity, x->options.refusals, &buckets, &entries);
  switch (which) {
    case XDP_CONTROL:
      return 1;
    case XDP_INDEX:
      return (uint32_t)buckets;
    case XDP_ENTRIES:
      return (uint32_t)entries;
    case XDP_PROCESSORS:
      return x->processors;
    case XDP_PLACES:
      return PLACES_FLOWS + 1;
    case XDP_EVENTS:
      return RING_BYTES;
    case XDP_BLOCKED:
      return BLOCKED_SOURCES;
    case XDP_OFF_PATH:
      return BLOCKED_PLACES;
    default:
      return EGRESS_INTERFACES;
  }
}

static void close_maps(struct xdp *x) {
  for (int i = 0; i < XDP_MAPS; i++) {
    if (x->map[i] >= 0) close(x->map[i]);
    x->map[i] = -1;
  }
}

static int create_maps(struct xdp *x) {
  for (int i = 0; i < XDP_MAPS; i++) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = MAPS[i].flags);
    x->map[i] = bpf_map_create(MAPS[i].type, MAPS[i].name, MAPS[i].key_size, MAPS[i].value_size,
                               map_entries(x, (enum xdp_map)i), &options);
    if (x->map[i] < 0) return -1;
  }
  return 0;
}

/* The program on an interface, if it is ours; or -1 with errno, 0 when there is none at all. */
static int program_on(unsigned interface, uint32_t *id, int *generic) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  struct bpf_prog_info info = {0};
  uint32_t size = sizeof info;
  int error = bpf_xdp_query((int)interface, 0, &query);
  if (error < 0) {
    errno = -error;
    return -1;
  }
  *id = query.prog_id ? query.prog_id : query.drv_prog_id ? query.drv_prog_id : query.skb_prog_id;
  *generic = query.attach_mode == XDP_ATTACHED_SKB;
  if (*id == 0) return 0;
  int program = bpf_prog_get_fd_by_id(*id);
  if (program < 0) return -1;
  if (bpf_obj_get_info_by_fd(program, &info, &size) == 0 && strcmp(info.name, PROGRAM) == 0) return program;
  close(program);
  errno = EBUSY;
  return -1;
}

/* As above, of the program for super-packets; 0 when there is none, or can be none in this kernel. */
static int segments_program_on(unsigned interface) {
  uint32_t ids[TCX_PROGRAMS], count = TCX_PROGRAMS, flags = 0;
  if (bpf_prog_query((int)interface, (enum bpf_attach_type)TCX_INGRESS, 0, &flags, ids, &count) < 0) return 0;
  for (uint32_t i = 0; i < count && i < TCX_PROGRAMS; i++) {
    struct bpf_prog_info info = {0};
    uint32_t size = sizeof info;
    int program = bpf_prog_get_fd_by_id(ids[i]);
    if (program < 0) continue;
    if (bpf_obj_get_info_by_fd(program, &info, &size) == 0 && strcmp(info.name, SEGMENTS_PROGRAM) == 0) return program;
    close(program);
  }
  return 0;
}

static int detach_segments(unsigned interface) {
  int program = segments_program_on(interface);
  if (program <= 0) return 0;
  int error = bpf_prog_detach2(program, (int)interface, (enum bpf_attach_type)TCX_INGRESS);
  close(program);
  return error == 0;
}

static int attach_segments(unsigned interface, int program) {
  int before = segments_program_on(interface);
  LIBBPF_OPTS(bpf_prog_attach_opts, options, .flags = before > 0 ? BPF_F_REPLACE : 0, .replace_prog_fd = before);
  int error = bpf_prog_attach_opts(program, (int)interface, (enum bpf_attach_type)TCX_INGRESS, &options);
  if (before > 0) close(before);
  return error;
}

static int map_by_name(const char *name) {
  for (int i = 0; i < XDP_MAPS; i++)
    if (strcmp(name, MAPS[i].name) == 0) return i;
  return -1;
}

static int is_fit(const struct xdp *x, enum xdp_map which, const struct bpf_map_info *info) {
  return info->type == MAPS[which].type && info->key_size == MAPS[which].key_size &&
         info->value_size == MAPS[which].value_size && info->max_entries == map_entries(x, which);
}

static void take_map(struct xdp *x, uint32_t id) {
  struct bpf_map_info info = {0};
  uint32_t size = sizeof info;
  int map = bpf_map_get_fd_by_id(id);
  if (map < 0) return;
  int which = bpf_obj_get_info_by_fd(map, &info, &size) == 0 ? map_by_name(info.name) : -1;
  if (which >= 0 && x->map[which] < 0 && is_fit(x, (enum xdp_map)which, &info)) x->map[which] = map;
  else close(map);
}

/* A table of another version of this program is of no use. */
static int has_layout(int map) {
  struct table_control control;
  uint32_t zero = 0;
  return bpf_map_lookup_elem(map, &zero, &control) == 0 && control.layout == TABLE_LAYOUT;
}

/* All maps of a program, fit for this process. What was taken is to be closed otherwise. */
static int take_maps(struct xdp *x, int program) {
  uint32_t ids[MAPS_OF_A_PROGRAM];
  struct bpf_prog_info info = {.map_ids = (uint64_t)(uintptr_t)ids, .nr_map_ids = MAPS_OF_A_PROGRAM};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &size) < 0) return 0;
  for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_OF_A_PROGRAM; i++) take_map(x, ids[i]);
  for (int i = 0; i < XDP_MAPS; i++)
    if (x->map[i] < 0) return 0;
  return has_layout(x->map[XDP_CONTROL]);
}

/* Looks over the interfaces for a program with maps that this process can go on with. */
static void adopt_maps(struct xdp *x) {
  struct if_nameindex *all = if_nameindex();
  uint32_t id;
  int generic;
  for (struct if_nameindex *i = all; i && i->if_index != 0 && !x->adopted; i++) {
    int program = program_on(i->if_index, &id, &generic);
    if (program <= 0) continue;
    x->adopted = take_maps(x, program);
    if (!x->adopted) close_maps(x);
    close(program);
  }
  if (all) if_freenameindex(all);
}

/* The process before no longer sends by any. */
static void serve_none(const struct xdp *x) {
  uint32_t interface;
  while (bpf_map_get_next_key(x->map[XDP_SERVED], NULL, &interface) == 0)
    if (bpf_map_delete_elem(x->map[XDP_SERVED], &interface) < 0) return;
}

/* What is off its flow's path has to be proven anew, as with the rules. */
static void open_places(const struct xdp *x) {
  struct table_control *control = x->memory[XDP_CONTROL];
  struct xdp_off_path place;
  atomic_store(&control->off_path, 0);
  while (bpf_map_get_next_key(x->map[XDP_OFF_PATH], NULL, &place) == 0)
    if (bpf_map_delete_elem(x->map[XDP_OFF_PATH], &place) < 0) return;
}

static int map_memory(struct xdp *x) {
  for (int i = 0; i < XDP_EVENTS; i++) {
    x->bytes[i] = (size_t)map_entries(x, (enum xdp_map)i) * MAPS[i].value_size;
    void *memory = mmap(NULL, x->bytes[i], PROT_READ | PROT_WRITE, MAP_SHARED, x->map[i], 0);
    if (memory == MAP_FAILED) return -1;
    x->memory[i] = memory;
  }
  return 0;
}

static struct xdp_processor *processor(const struct xdp *x, uint32_t number) {
  return (struct xdp_processor *)x->memory[XDP_PROCESSORS] + number;
}

/* Names without a file are apart for each network namespace, as the programs are. */
static int take_lock(struct xdp *x) {
  static const struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0pbs-xdp"};
  x->lock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return x->lock < 0 ? -1 : bind(x->lock, (const struct sockaddr *)&name, sizeof name);
}

static int set_up(struct xdp *x) {
  int processors = libbpf_num_possible_cpus();
  if (processors <= 0 || take_lock(x) < 0) return -1;
  x->processors = (uint32_t)processors;
  adopt_maps(x);
  if (!x->adopted && create_maps(x) < 0) return -1;
  if (map_memory(x) < 0) return -1;
  if (x->adopted) {
    serve_none(x);
    open_places(x);
    return 0;
  }
  for (uint32_t i = 0; i < x->processors; i++) atomic_store(&processor(x, i)->reader.epoch, READER_OUTSIDE);
  return 0;
}

int xdp_probe(const char *file) {
  libbpf_set_print(NULL);
  struct bpf_object *object = bpf_object__open_file(file, NULL);
  if (!object) return -1;
  int result = bpf_object__load(object), error = errno;
  bpf_object__close(object);
  errno = error;
  return result < 0 ? -1 : 0;
}

struct xdp *xdp_open(const struct xdp_options *options) {
  struct xdp *x = calloc(1, sizeof *x);
  if (!x) return NULL;
  libbpf_set_print(NULL); /* what goes wrong is told by errno, not on the standard error of the daemon */
  x->lock = -1;
  for (int i = 0; i < XDP_MAPS; i++) x->map[i] = -1;
  x->options = *options;
  strncpy(x->object, options->object, sizeof x->object - 1);
  if (set_up(x) == 0) return x;
  int error = errno;
  xdp_close(x);
  errno = error;
  return NULL;
}

void xdp_close(struct xdp *x) {
  for (int i = 0; i < XDP_EVENTS; i++)
    if (x->memory[i]) munmap(x->memory[i], x->bytes[i]);
  close_maps(x);
  if (x->lock >= 0) close(x->lock);
  free(x);
}

struct table_space xdp_space(const struct xdp *x) {
  return (struct table_space){
      .control = x->memory[XDP_CONTROL],
      .index = x->memory[XDP_INDEX],
      .entries = x->memory[XDP_ENTRIES],
      .foreign = &processor(x, 0)->reader,
      .foreign_count = x->processors,
      .foreign_stride = sizeof(struct xdp_processor),
      .places = x->memory[XDP_PLACES],
  };
}

static int hardware_address(unsigned interface, uint8_t out[6]) {
  struct ifreq request = {0};
  int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (s < 0 || !if_indextoname(interface, request.ifr_name) || ioctl(s, SIOCGIFHWADDR, &request) < 0) {
    int error = errno;
    if (s >= 0) close(s);
    errno = error;
    return -1;
  }
  close(s);
  memcpy(out, request.ifr_hwaddr.sa_data, 6);
  return 0;
}

static int fill_setting(const struct xdp *x, unsigned interface, enum xdp_mode mode, int check_source,
                        struct xdp_setting *out) {
  const struct table_control *control = x->memory[XDP_CONTROL];
  memset(out, 0, sizeof *out);
  memcpy(out->key, control->key, sizeof out->key);
  out->mask = control->mask;
  out->total = control->total;
  out->enforce = (uint8_t)x->options.enforce;
  out->open = (uint8_t)x->options.open;
  out->generic = mode == XDP_GENERIC;
  out->check_source = (uint8_t)check_source;
  out->exempts = (uint8_t)x->options.exempts;
  memcpy(out->exempt, x->options.exempt, sizeof out->exempt);
  memcpy(out->bounds, x->options.bounds, sizeof out->bounds);
  return hardware_address(interface, out->address);
}

/* Our maps in place of the object's own, and its constants. */
static int prepare(const struct xdp *x, struct bpf_object *object, const struct xdp_setting *setting) {
  struct bpf_map *map;
  size_t size;
  bpf_object__for_each_map(map, object) {
    int which = map_by_name(bpf_map__name(map));
    if (which >= 0 && bpf_map__reuse_fd(map, x->map[which]) < 0) return -1;
    if (which >= 0 || !bpf_map__is_internal(map)) continue;
    void *constants = (void *)(uintptr_t)bpf_map__initial_value(map, &size);
    if (constants && size >= sizeof *setting) memcpy(constants, setting, sizeof *setting);
  }
  return bpf_object__load(object);
}

static struct bpf_object *load(const struct xdp *x, unsigned interface, enum xdp_mode mode, int check_source) {
  struct xdp_setting setting;
  if (fill_setting(x, interface, mode, check_source, &setting) < 0) return NULL;
  struct bpf_object *object = bpf_object__open_file(x->object, NULL);
  struct bpf_program *segments = object ? bpf_object__find_program_by_name(object, SEGMENTS_PROGRAM) : NULL;
  if (segments) bpf_program__set_autoload(segments, mode == XDP_GENERIC);
  if (!object || prepare(x, object, &setting) == 0) return object;
  int error = errno;
  bpf_object__close(object);
  errno = error;
  return NULL;
}

/* Takes the place of our earlier program at once; nothing passes between the two. */
static int replace(unsigned interface, int program, enum xdp_mode mode) {
  uint32_t id = 0, flags = mode == XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  int generic = 0, before = program_on(interface, &id, &generic), error;
  if (before < 0) return -1;
  LIBBPF_OPTS(bpf_xdp_attach_opts, options);
  if (before > 0 && generic == (mode == XDP_GENERIC)) {
    options.old_prog_fd = before;
    flags |= XDP_FLAGS_REPLACE;
  } else {
    if (before > 0) xdp_detach(interface);
    flags |= XDP_FLAGS_UPDATE_IF_NOEXIST;
  }
  error = bpf_xdp_attach((int)interface, program, flags, &options);
  if (before > 0) close(before);
  if (error == 0) return 0;
  errno = -error;
  return -1;
}

int xdp_attach(struct xdp *x, unsigned interface, enum xdp_mode mode, int check_source) {
  struct bpf_object *object = load(x, interface, mode, check_source);
  if (!object) return -1;
  struct bpf_program *program = bpf_object__find_program_by_name(object, PROGRAM);
  struct bpf_program *segments = bpf_object__find_program_by_name(object, SEGMENTS_PROGRAM);
  int result = program ? replace(interface, bpf_program__fd(program), mode) : -1;
  int error = errno;
  if (result == 0 && mode == XDP_GENERIC)
    result = segments && attach_segments(interface, bpf_program__fd(segments)) == 0;
  else if (result == 0) detach_segments(interface);
  bpf_object__close(object);
  errno = error;
  return result;
}

int xdp_detach(unsigned interface) {
  uint32_t id;
  int generic, there = detach_segments(interface), program = program_on(interface, &id, &generic);
  if (program < 0 && errno == EBUSY) return there;
  if (program <= 0) return program < 0 ? -1 : there;
  LIBBPF_OPTS(bpf_xdp_attach_opts, options, .old_prog_fd = program);
  uint32_t mode = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
  int error = bpf_xdp_detach((int)interface, mode | XDP_FLAGS_REPLACE, &options);
  close(program);
  if (error == 0) return 1;
  errno = -error;
  return -1;
}

/* A map of the program by name; -1 with errno. */
static int map_of(int program, const char *name) {
  uint32_t ids[MAPS_OF_A_PROGRAM];
  struct bpf_prog_info info = {.map_ids = (uint64_t)(uintptr_t)ids, .nr_map_ids = MAPS_OF_A_PROGRAM};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &size) < 0) return -1;
  for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_OF_A_PROGRAM; i++) {
    struct bpf_map_info about = {0};
    uint32_t length = sizeof about;
    int map = bpf_map_get_fd_by_id(ids[i]);
    if (map < 0) continue;
    if (bpf_obj_get_info_by_fd(map, &about, &length) == 0 && strcmp(about.name, name) == 0) return map;
    close(map);
  }
  errno = ENOENT;
  return -1;
}

int xdp_queues(unsigned interface) {
  uint32_t id;
  int generic, program = program_on(interface, &id, &generic);
  if (program <= 0) {
    if (program == 0) errno = ENOENT;
    return -1;
  }
  int map = map_of(program, "pbs_queues"), error = errno;
  close(program);
  errno = error;
  return map;
}

/* Whether the interface is in the set. */
static int put(const struct xdp *x, enum xdp_map set, uint32_t interface, int is_in) {
  if (is_in) return bpf_map_update_elem(x->map[set], &interface, &interface, BPF_ANY);
  return bpf_map_delete_elem(x->map[set], &interface) == 0 || errno == ENOENT ? 0 : -1;
}

int xdp_serve(struct xdp *x, unsigned interface, int served) { return put(x, XDP_SERVED, interface, served); }

int xdp_allow_egress(struct xdp *x, unsigned interface, enum xdp_egress egress) {
  if (put(x, XDP_SHAPED, interface, egress == EGRESS_STACK) < 0) return -1;
  return put(x, XDP_EGRESS, interface, egress == EGRESS_NATIVE);
}

/* What is blocked is counted before it is in the map and after it is out, so that programs never pass over it. */
static int add_blocked(_Atomic uint32_t *blocked, int map, const void *key, uint64_t until) {
  atomic_fetch_add(blocked, 1);
  if (bpf_map_update_elem(map, key, &until, BPF_NOEXIST) == 0) return 0;
  int error = errno;
  atomic_fetch_sub(blocked, 1);
  if (error == EEXIST) return bpf_map_update_elem(map, key, &until, BPF_EXIST);
  errno = error;
  return -1;
}

static int block(_Atomic uint32_t *blocked, int map, const void *key, uint64_t until) {
  if (until != 0) return add_blocked(blocked, map, key, until);
  if (bpf_map_delete_elem(map, key) == 0) atomic_fetch_sub(blocked, 1);
  else if (errno != ENOENT) return -1;
  return 0;
}

int xdp_block(struct xdp *x, const struct xdp_source *source, uint64_t until) {
  struct table_control *control = x->memory[XDP_CONTROL];
  return block(&control->blocked, x->map[XDP_BLOCKED], source, until);
}

int xdp_block_place(struct xdp *x, const struct xdp_off_path *place, uint64_t until) {
  struct table_control *control = x->memory[XDP_CONTROL];
  return block(&control->off_path, x->map[XDP_OFF_PATH], place, until);
}

uint64_t xdp_counter(const struct xdp *x, enum xdp_counter which) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < x->processors; i++)
    sum += atomic_load_explicit(&processor(x, i)->of[which], memory_order_relaxed);
  return sum;
}

int xdp_try(unsigned interface, const uint8_t *frame, size_t bytes, uint8_t *out, size_t *out_bytes) {
  uint32_t id;
  int generic, program = program_on(interface, &id, &generic);
  if (program <= 0) {
    if (program == 0) errno = ENOENT;
    return -1;
  }
  struct xdp_md context = {.data_end = (uint32_t)bytes, .ingress_ifindex = interface};
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = (uint32_t)bytes, .data_out = out,
              .data_size_out = (uint32_t)*out_bytes, .ctx_in = &context, .ctx_size_in = sizeof context, .repeat = 1);
  int error = bpf_prog_test_run_opts(program, &options);
  close(program);
  if (error < 0) return -1;
  *out_bytes = options.data_size_out;
  return (int)options.retval;
}

int xdp_try_segments(unsigned interface, const uint8_t *frame, size_t bytes, uint32_t segment) {
  int program = segments_program_on(interface);
  if (program <= 0) {
    errno = ENOENT;
    return -1;
  }
  struct __sk_buff context = {.ifindex = interface, .gso_size = segment};
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = (uint32_t)bytes, .ctx_in = &context,
              .ctx_size_in = sizeof context, .repeat = 1);
  int error = bpf_prog_test_run_opts(program, &options);
  close(program);
  if (error < 0) return -1;
  if (options.retval == TC_ACT_REDIRECT) return XDP_REDIRECT;
  return options.retval == TC_ACT_SHOT ? XDP_DROP : XDP_PASS;
}
