/** gistd's control server: what gistctl speaks to. It knows of no signalling application. */
import type { FastifyInstance } from "fastify";
import type { Logger } from "../base/log.js";
import type { Time } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import { HttpServer, type SocketOptions } from "./http.js";
import { addGistRoutes, type GistParts } from "./peers.js";

/** The daemon, as far as only its composition root knows it. */
export interface GistdFacts {
  readonly version: string;
  readonly config: string;
  /** The service socket. */
  readonly service: string;
}

/** A process that uses the service. */
export interface GistdClient {
  readonly name: string;
  readonly nslpIds: readonly number[];
}

export interface GistControlParts extends GistParts {
  readonly facts: GistdFacts;
  readonly time: Time;
  readonly clients: () => readonly GistdClient[];
}

/** What `gistctl status` shows. */
export interface GistdStatus extends GistdFacts {
  readonly pid: number;
  readonly uptime: Milliseconds;
  readonly identity: string;
  readonly clients: readonly GistdClient[];
  readonly associations: number;
  readonly routingStates: { readonly querying: number; readonly responding: number };
  readonly counters: Readonly<Record<string, number>>;
}

/** Rejects with SocketError when the socket cannot be had. */
export function startGistControl(
  parts: GistControlParts,
  options: SocketOptions,
  log: Logger,
): Promise<HttpServer> {
  const started = parts.time.now();
  const addRoutes = (app: FastifyInstance): void => {
    app.get("/v1/status", () => statusOf(parts, started));
    addGistRoutes(app, parts);
  };
  return HttpServer.start({ program: "gistd", addRoutes, explainError: () => undefined }, options, log);
}

function statusOf(parts: GistControlParts, started: Milliseconds): GistdStatus {
  const { identity, associations, routingStates, counters } = parts.gist();
  return {
    ...parts.facts,
    pid: process.pid,
    uptime: ms(parts.time.now() - started),
    identity,
    clients: parts.clients(),
    associations: associations.length,
    routingStates,
    counters,
  };
}
