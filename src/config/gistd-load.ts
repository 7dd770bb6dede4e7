/** gistd's configuration file: sections, fields, ranges, defaults. docs/gistd.example.toml explains each for its user. */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { QUEUES } from "../base/queues.js";
import { deepFreeze, type Format, parseDocument, readDocument } from "./document.js";
import { whole } from "./fields.js";
import { DEFAULT_GISTD_CONTROL, DEFAULT_SERVICE, type GistdConfig } from "./gistd-config.js";
import {
  checkSignalling,
  identity,
  log,
  peer,
  peers,
  section,
  signalling,
  socketAt,
  tcpPortOf,
} from "./schema.js";

const MAX_IDS = 256;
const ids = () =>
  z
    .array(whole(0, 2 ** 32 - 2))
    .max(MAX_IDS)
    .default([]);

const sections = {
  identity,
  signalling: {
    ...signalling,
    queue: whole(0, 65_536 - QUEUES).default(2700),
    capacity: whole(16, 16_000_000).default(2_000_000),
  },
  service: { ...socketAt(DEFAULT_SERVICE), uids: ids(), gids: ids() },
  peer,
  control: socketAt(DEFAULT_GISTD_CONTROL),
  log,
};

const schema = z.strictObject({
  identity: section(sections.identity).prefault({} as never),
  signalling: section(sections.signalling).superRefine(checkSignalling).prefault({}),
  service: section(sections.service).prefault({}),
  peer: peers(),
  control: section(sections.control).prefault({}),
  log: section(sections.log).prefault({}),
});

const FORMAT: Format<typeof schema> = {
  schema,
  fields: Object.fromEntries(Object.entries(sections).map(([name, shape]) => [name, Object.keys(shape)])),
  example: "docs/gistd.example.toml",
};

/** Reads and checks a configuration file. Throws ConfigError. */
export function loadGistdConfig(file: string): GistdConfig {
  return parseGistdConfig(readDocument(file, FORMAT.example), file);
}

/**
 * Checks the text of a configuration.
 * @param file name for messages; relative paths in the text are relative to its directory
 * Throws ConfigError with all problems found.
 */
export function parseGistdConfig(toml: string, file: string): GistdConfig {
  const here = dirname(resolve(file));
  const parsed = parseDocument(toml, file, FORMAT);
  const { identity: keys, signalling: s, service, control } = parsed;
  return deepFreeze({
    file,
    identity: {
      certificate: resolve(here, keys.certificate),
      key: resolve(here, keys.key),
      authorities: keys.authorities.map((name) => resolve(here, name)),
    },
    signalling: {
      tlsPort: s.tls_port,
      tcpPort: tcpPortOf(s),
      routingStateValidity: s.routing_state_validity,
      associationHold: s.association_hold,
      interceptRate: s.intercept_rate,
      routerAlert: s.router_alert,
      gather: s.gather,
      queue: s.queue,
      capacity: s.capacity,
    },
    service: { ...service, socket: resolve(here, service.socket), group: service.group ?? null },
    control: { socket: resolve(here, control.socket), group: control.group ?? null },
    peers: parsed.peer,
    log: parsed.log,
  });
}
