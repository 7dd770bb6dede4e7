/** Where the signalling is done: by a GIST node in this process, or by a gistd. */
import { type Identity, KeysError } from "../authorization/keys.js";
import { Signer } from "../authorization/signing.js";
import type { IpAddress } from "../base/address.js";
import type { Logger } from "../base/log.js";
import { systemRandom } from "../base/random.js";
import type { Time } from "../base/time.js";
import type { PeerRule } from "../config/config.js";
import type { PeersView } from "../control/peers.js";
import { GistClient } from "../gist/ipc/client.js";
import { GistNode } from "../gist/node.js";
import type { GistService, RoutingStateView } from "../gist/service.js";
import { SystemTransport } from "../gist/transport/system.js";
import type { Mri } from "../gist/wire/messages.js";
import { OwnAddresses } from "./own-addresses.js";
import type { GistOptions } from "../gist/options.js";
import { credentialsOf, gistOptions, type SignallingConfig, transportOptions } from "./signalling-options.js";

export interface Signalling {
  readonly gist: GistService;
  /** Whether an address is this host's own. */
  readonly isLocal: (address: IpAddress) => boolean;
  readonly view: () => PeersView;
  readonly routes: () => Iterable<RoutingStateView>;
  /** Puts another list of believed neighbours in force. */
  readonly setPeers: (peers: readonly PeerRule[]) => void;
  /** Shows this certificate, and believes these authorities, in associations from now on. Throws KeysError. */
  readonly setIdentity: (identity: Identity) => void;
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export interface NodeParts {
  readonly peers: readonly PeerRule[];
  readonly signalling: SignallingConfig;
  readonly queue: number;
  readonly maxRoutingStates: number;
  /** The mark by which packets about an MRI's flow are routed, where flows take paths of their own; 0: none. */
  readonly pathMark?: (mri: Mri) => number;
  readonly identity: Identity;
  readonly log: Logger;
  readonly time: Time;
  readonly options?: Partial<GistOptions>;
}

export interface OwnSignalling extends Signalling {
  readonly gist: GistNode;
}

/** A GIST node on this host's real network. */
export function ownSignalling(parts: NodeParts): OwnSignalling {
  const { signalling, queue, maxRoutingStates, identity, log, time } = parts;
  const transport = new SystemTransport({
    ...transportOptions(signalling, queue, identity, log, time),
    ...(parts.pathMark && { pathMark: parts.pathMark }),
  });
  const isLocal = (address: IpAddress): boolean => transport.isLocal(address);
  const gist = new GistNode({
    time,
    random: systemRandom,
    isLocal,
    identity: new Signer(identity.privateKey, identity.certificateDer).identity,
    transport,
    log,
    options: { ...gistOptions(signalling, maxRoutingStates), ...parts.options },
    authorisedPeers: parts.peers,
  });
  return {
    gist,
    isLocal,
    view: () => {
      const view = gist.view();
      return { ...view, counters: { ...view.counters, ...transport.counters() }, service: null };
    },
    routes: () => gist.routes(),
    setPeers: (peers) => gist.setAuthorisedPeers(peers),
    setIdentity: (renewed) => {
      try {
        transport.setCredentials(credentialsOf(renewed));
      } catch (error) {
        throw new KeysError(error instanceof Error ? error.message : String(error));
      }
    },
    start: () => gist.start(),
    stop: () => gist.stop(),
  };
}

export interface RemoteParts {
  /** The service socket. */
  readonly path: string;
  /** Who this is, for gistd's log. */
  readonly name: string;
  /** Sessions that may have to be told that gistd was lost. */
  readonly maxSessions: number;
  readonly log: Logger;
  readonly time: Time;
}

/** A gistd behind its socket. It may come and go. */
export function remoteSignalling({ path, name, maxSessions, log, time }: RemoteParts): Signalling {
  const gist = new GistClient({ path, name, time, random: systemRandom, log, options: { maxSessions } });
  const addresses = new OwnAddresses(time, log);
  return {
    gist,
    isLocal: (address) => addresses.has(address),
    view: () => ({ ...gist.view(), service: path }),
    routes: () => [],
    setPeers: () => undefined,
    setIdentity: () => undefined,
    start: async () => {
      await addresses.start();
      gist.start();
    },
    stop: async () => {
      gist.close();
      await addresses.stop();
    },
  };
}
