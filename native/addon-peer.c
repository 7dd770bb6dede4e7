/* Who is at the other end of a Unix stream socket. */
#include <errno.h>
#include <sys/socket.h>

#include "addon-engine.h"
#include "addon-values.h"

enum { MAX_FD = 1 << 30, PEER_VALUES = 3 };

/* peerCredentials(fd, out): process, user and group of whoever connected, as the kernel noted them then. */
napi_value addon_peer_credentials(napi_env env, napi_callback_info info) {
  napi_value a[2];
  uint32_t fd = 0;
  void *data = NULL;
  size_t count = 0;
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (get_arguments(env, info, 2, a) < 0 || get_u32(env, a[0], MAX_FD, &fd) < 0 ||
      get_typed_array(env, a[1], napi_float64_array, &data, &count) < 0)
    return NULL;
  if (count < PEER_VALUES) {
    throw_error(env, "EINVAL", "the array is too short");
    return NULL;
  }
  if (getsockopt((int)fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
    throw_errno(env, errno, "the peer of the socket is not known");
    return NULL;
  }
  double *out = data;
  out[0] = peer.pid;
  out[1] = peer.uid;
  out[2] = peer.gid;
  return NULL;
}
