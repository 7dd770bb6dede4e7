/** Who is at the other end of a Unix socket. Node has no call for it, so the addon asks the kernel (SO_PEERCRED). */
import type { Socket } from "node:net";
import { native } from "../traffic/native.js";

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** As they were when the peer connected. Throws where the socket has none. */
export function peerCredentials(socket: Socket): PeerCredentials {
  const { fd } = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle ?? {};
  if (fd === undefined || fd < 0) throw new Error("the socket has no descriptor");
  const [pid = 0, uid = 0, gid = 0] = credentialsOf(fd);
  return { pid, uid, gid };
}

function credentialsOf(fd: number): Float64Array {
  const out = new Float64Array(3);
  native().peerCredentials(fd, out);
  return out;
}
