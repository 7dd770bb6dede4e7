/** From the configuration to the options of each part. */
import type { Logger } from "../base/log.js";
import type { Time } from "../base/time.js";
import { ms, seconds } from "../base/units.js";
import type { Config } from "../config/config.js";
import type { PbsOptions } from "../nslp/options.js";
import type { SharedRates } from "../traffic/firewall-rules.js";
import type { FirewallOptions } from "../traffic/firewall.js";
import type { RelaysOptions } from "../traffic/relays.js";
import type { XdpOptions } from "../traffic/xdp.js";

/** The set holds flows for a while after their permission has ended, so it is larger than the table. */
const SET_FACTOR = 2;

export function firewallOptions(config: Config): FirewallOptions {
  const { node, signalling, packets, exempt, open, legacy, authentication, relay } = config;
  return {
    ...(node.mode === "open" && { open: { total: open.rate, source: open.sourceRate } }),
    legacy: legacy.map(({ rate: total, sourceRate: source, ...hosts }) => ({ ...hosts, total, source })),
    openMark: packets.openMark,
    queueBase: packets.queueBase,
    tlsPort: signalling.tlsPort,
    tcpPort: signalling.tcpPort,
    refuseMark: packets.refuseMark,
    backend: packets.firewall,
    exempt,
    interceptRate: signalling.interceptRate,
    setSize: packets.capacity * SET_FACTOR,
    reserve: authentication.reserve,
    reassemble: packets.reassemble,
    ...(relay.serve && { relayPort: relay.port }),
  };
}

export function relaysOptions({ relay, path }: Config): RelaysOptions {
  return { ...relay, relays: path.flatMap((one) => (one.relay === undefined ? [] : [one.relay])) };
}

/** For taking the rules out, which no setting changes. */
export const CLEANUP_OPTIONS: FirewallOptions = {
  queueBase: 2700,
  tlsPort: 5270,
  tcpPort: null,
  refuseMark: 1,
  backend: "auto",
  exempt: [],
  interceptRate: 1,
  setSize: 1,
  reserve: 0,
  reassemble: false,
};

/** A flow that crosses this node has one state towards each side. */
export function routingStatesFor({ packets }: Config): number {
  return 2 * packets.capacity;
}

export function datapathOptions(config: Config, logger: Logger, time: Time): XdpOptions {
  const { node, signalling, packets, legacy, open, exempt } = config;
  const isOpen = node.mode === "open";
  const { queueBase, capacity, holdPacketsPerFlow, holdPackets, holdTime, refuseMark, enforce } = packets;
  const { receivePriority, processor, ahProcessor } = packets;
  return {
    queueBase,
    capacity,
    holdPacketsPerFlow,
    holdPackets,
    holdTime,
    refuseMark,
    enforce,
    receivePriority,
    ...(processor !== null && { processor }),
    ...(ahProcessor !== null && { ahProcessor }),
    ...((isOpen || legacy.length > 0) && { openMark: packets.openMark }),
    ...(isOpen
      ? { open: sharedRates([open, ...legacy]) }
      : { legacy: legacy.map(({ prefix, rate: total, sourceRate: source }) => ({ prefix, total, source })) }),
    interceptRate: signalling.interceptRate,
    logger,
    time,
    exempt,
  };
}

/** Of several classes together. */
function sharedRates(
  classes: readonly { readonly rate: number; readonly sourceRate: number }[],
): SharedRates {
  return {
    total: classes.reduce((sum, { rate }) => sum + rate, 0),
    source: Math.max(...classes.map(({ sourceRate }) => sourceRate)),
  };
}

/** Sessions without permission come on top of those that fill the table. */
const SESSION_SHARE = 1.1;

/** Then the receiver is asked again: it may have learned PBS. */
const LET_GO_FOR = seconds(600);

export function pbsOptions({
  node,
  packets,
  refresh,
  request,
  return: returns,
  authentication,
  detection,
  admission,
}: Config): Partial<PbsOptions> {
  return {
    requestVolume: request.volume,
    idleTimeout: request.idleTimeout,
    queryTimeouts: [request.answerWithin, ms(2 * request.answerWithin)],
    routerWait: ms(5 * request.answerWithin),
    refuseFor: packets.refuseFor,
    ...(node.mode === "open" && { letGoFor: LET_GO_FOR }),
    ...refresh,
    accepts: authentication.accept,
    detection: detection.policy,
    moves: detection.moves,
    admission,
    blockFor: detection.blockFor,
    reportRate: detection.reports,
    maxSessions: Math.ceil(packets.capacity * SESSION_SHARE),
    returns: returns.policy === "auto" ? { ...returns, policy: "auto" } : { policy: "rules" },
  };
}
