/** gistd's parts, put together: a GIST node on this host's network, the service socket, the control socket. */
import type { Socket } from "node:net";
import type { Identity } from "../authorization/keys.js";
import type { Logger } from "../base/log.js";
import { SystemTime, type Time } from "../base/time.js";
import { seconds } from "../base/units.js";
import type { GistdConfig } from "../config/gistd-config.js";
import { startGistControl } from "../control/gist-server.js";
import { peerCredentials } from "../control/peer-credentials.js";
import { listenOnSocket } from "../control/socket.js";
import { ServiceServer } from "../gist/ipc/server.js";
import { identityOf, renewedIdentity } from "./lifecycle.js";
import { gistdPreflight } from "./preflight.js";
import { type OwnSignalling, ownSignalling } from "./signalling.js";
import { Started } from "./started.js";
import { version } from "./version.js";

/** Longer than a client needs to find the service again (src/gist/ipc/options.ts), and to be started again itself. */
const NSLP_WAIT = seconds(3);

export class GistDaemon {
  readonly #signalling: OwnSignalling;
  readonly #started: Started;
  #identity: Identity;

  private constructor(signalling: OwnSignalling, started: Started, identity: Identity) {
    this.#signalling = signalling;
    this.#started = started;
    this.#identity = identity;
  }

  /** Rejects with an error for failureText. */
  static async start(config: GistdConfig, log: Logger): Promise<GistDaemon> {
    const identity = identityOf(config.identity);
    await gistdPreflight(config);
    const { signalling: settings } = config;
    const time = new SystemTime();
    const started = new Started();
    try {
      const signalling = ownSignalling({
        peers: config.peers,
        signalling: settings,
        queue: settings.queue,
        maxRoutingStates: settings.capacity,
        identity,
        log,
        time,
        options: { nslpWait: NSLP_WAIT },
      });
      await signalling.start();
      started.add(() => signalling.stop());
      const service = await startService(config, signalling, log, time);
      started.add(() => service.stop());
      const control = await startGistControl(
        {
          facts: { version, config: config.file, service: config.service.socket },
          time,
          gist: () => withService(signalling, service.server),
          routingStates: signalling.routes,
          clients: () => service.server.clients,
        },
        config.control,
        log,
      );
      started.add(() => control.close());
      return new GistDaemon(signalling, started, identity);
    } catch (error) {
      await started.stop();
      throw error;
    }
  }

  /** Takes over what can be taken over while running: the certificates and the peers. */
  reload(config: GistdConfig): void {
    const identity = renewedIdentity(this.#identity, config.identity);
    this.#signalling.setIdentity(identity);
    this.#identity = identity;
    this.#signalling.setPeers(config.peers);
  }

  /** Afterwards the process has to be ended: the signalling queue cannot be closed. */
  stop(): Promise<void> {
    return this.#started.stop();
  }
}

function withService(signalling: OwnSignalling, server: ServiceServer) {
  const view = signalling.view();
  return { ...view, counters: { ...view.counters, ...server.counters() } };
}

async function startService(config: GistdConfig, signalling: OwnSignalling, log: Logger, time: Time) {
  const { socket: path, group } = config.service;
  const server = new ServiceServer({
    host: signalling.gist,
    identity: signalling.view().identity,
    time,
    log,
    objection: (socket) => objectionTo(socket, config.service),
  });
  const removeSocket = await listenOnSocket(server.listener, {
    path,
    group,
    owner: "gistd",
    section: "service",
  });
  const stop = (): void => {
    removeSocket();
    server.close();
  };
  return { server, stop };
}

/** Root and the daemon's own user may always; the socket's mode keeps out others before this is asked. */
function objectionTo(socket: Socket, allowed: GistdConfig["service"]): string | undefined {
  try {
    const { uid, gid } = peerCredentials(socket);
    if (uid === 0 || uid === process.getuid?.()) return undefined;
    if (allowed.uids.includes(uid) || allowed.gids.includes(gid)) return undefined;
    return `user ${uid} of group ${gid} is not in [service] uids or gids`;
  } catch (error) {
    return `who asks cannot be told: ${String(error)}`;
  }
}
