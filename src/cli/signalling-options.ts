/** From the configuration of either daemon to the options of its GIST node. */
import type { Identity } from "../authorization/keys.js";
import type { Logger } from "../base/log.js";
import type { Time } from "../base/time.js";
import type { Config } from "../config/config.js";
import type { GistOptions } from "../gist/options.js";
import type { Credentials, SystemTransportOptions } from "../gist/transport/system.js";

/** Signalling as either daemon has it configured. */
export type SignallingConfig = Omit<Config["signalling"], "service">;

export function gistOptions(signalling: SignallingConfig, maxRoutingStates: number): Partial<GistOptions> {
  return {
    maxRoutingStates,
    stacks: signalling.tcpPort === null ? "tls" : "tls-and-tcp",
    validity: signalling.routingStateValidity,
    holdTime: signalling.associationHold,
    interceptRate: signalling.interceptRate,
    interceptBurst: signalling.interceptRate,
  };
}

export function transportOptions(
  signalling: SignallingConfig,
  queueNumber: number,
  identity: Identity,
  logger: Logger,
  time: Time,
): SystemTransportOptions {
  return {
    tlsPort: signalling.tlsPort,
    ...(signalling.tcpPort !== null && { tcpPort: signalling.tcpPort }),
    queueNumber,
    routerAlert: signalling.routerAlert,
    gather: signalling.gather,
    ...credentialsOf(identity),
    logger,
    time,
  };
}

/** What associations over TLS need of an identity. */
export function credentialsOf({ certificatePem, keyPem, authoritiesPem }: Identity): Credentials {
  return { certificate: certificatePem, key: keyPem, authorities: authoritiesPem };
}
