/** From pbsd's file to a {@link Config}, or to every problem that the file has. */
import { dirname, resolve } from "node:path";
import type { z } from "zod";
import type { Config, ExemptClass, LegacyHosts, PathConfig } from "./config.js";
import { deepFreeze, type Format, parseDocument, readDocument } from "./document.js";
import {
  configSchema,
  defaultRefresh,
  FIELDS,
  tcpPortOf,
  toAdmission,
  toAuthentication,
  toDetection,
  toMoves,
  toPolicyRule,
} from "./schema.js";

const FORMAT: Format<typeof configSchema> = {
  schema: configSchema,
  fields: FIELDS,
  example: "docs/pbsd.example.toml",
};

/** The text of a configuration file. Throws ConfigError. */
export function readConfig(file: string): string {
  return readDocument(file, FORMAT.example);
}

/** Reads and checks a configuration file. Throws ConfigError. */
export function loadConfig(file: string): Config {
  return parseConfig(readConfig(file), file);
}

/**
 * Checks the text of a configuration.
 * @param file name for messages; relative paths in the text are relative to its directory
 * Throws ConfigError with all problems found.
 */
export function parseConfig(toml: string, file: string): Config {
  return build(parseDocument(toml, file, FORMAT), file);
}

type Parsed = z.output<typeof configSchema>;

function build(parsed: Parsed, file: string): Config {
  const here = dirname(resolve(file));
  const { identity, signalling, packets, control } = parsed;
  const policy = toDetection(parsed.detection);
  return deepFreeze({
    file,
    node: parsed.node,
    identity: {
      certificate: resolve(here, identity.certificate),
      key: resolve(here, identity.key),
      authorities: identity.authorities.map((name) => resolve(here, name)),
    },
    signalling: {
      tlsPort: signalling.tls_port,
      tcpPort: tcpPortOf(signalling),
      routingStateValidity: signalling.routing_state_validity,
      associationHold: signalling.association_hold,
      interceptRate: signalling.intercept_rate,
      routerAlert: signalling.router_alert,
      gather: signalling.gather,
      service: signalling.service === undefined ? null : resolve(here, signalling.service),
    },
    refresh: parsed.refresh,
    packets: {
      queueBase: packets.queue_base,
      capacity: packets.capacity,
      holdPacketsPerFlow: packets.hold_packets_per_flow,
      holdPackets: packets.hold_packets,
      holdTime: packets.hold_time,
      refuseFor: packets.refuse_for,
      refuseMark: packets.refuse_mark,
      openMark: packets.open_mark,
      enforce: packets.enforce,
      reassemble: packets.reassemble,
      firewall: packets.firewall,
      engine: packets.engine,
      receivePriority: packets.receive_priority,
      processor: packets.processor ?? null,
      ahProcessor: packets.ah_processor ?? null,
    },
    exempt: parsed.exempt.map(toExemptClass),
    open: { rate: parsed.open.rate, sourceRate: parsed.open.source_rate },
    legacy: parsed.legacy.map(toLegacy),
    request: {
      volume: parsed.request.volume,
      idleTimeout: parsed.request.idle_timeout,
      answerWithin: parsed.request.answer_within,
    },
    return: toReturn(parsed.return),
    authentication: parsed.authentication,
    detection: {
      policy,
      moves: toMoves(parsed.detection),
      blockFor: parsed.detection.block_for,
      reports: parsed.detection.reports,
    },
    admission: toAdmission(parsed.admission),
    path: parsed.path.map(toPath),
    relay: parsed.relay,
    rules: parsed.rule.map((fields, index) => toPolicyRule(fields, index, policy)),
    peers: parsed.peer,
    control: { socket: resolve(here, control.socket), group: control.group ?? null },
    log: parsed.log,
  });
}

function toReturn(fields: Parsed["return"]): Config["return"] {
  const { policy, volume, lifetime, refresh } = fields;
  const authentication = toAuthentication(fields);
  return {
    policy,
    volume,
    lifetime,
    refresh: refresh ?? defaultRefresh(lifetime),
    ...(authentication && { authentication }),
  };
}

function toLegacy({ name, prefix, rate, source_rate: sourceRate }: Parsed["legacy"][number]): LegacyHosts {
  return { name, prefix, rate, sourceRate: sourceRate ?? rate };
}

function toPath({ to, via, device, relay, source }: Parsed["path"][number]): PathConfig {
  return {
    ...(to && { to }),
    ...(via && { via }),
    ...(device !== undefined && { device }),
    ...(relay && { relay }),
    ...(source && { source }),
  };
}

function toExemptClass(fields: Parsed["exempt"][number]): ExemptClass {
  const { name, rate, protocol, ports, from, to } = fields;
  return {
    name,
    rate,
    ...(protocol !== undefined && { protocol }),
    ...(ports && { ports }),
    ...(from && { from }),
    ...(to && { to }),
  };
}
