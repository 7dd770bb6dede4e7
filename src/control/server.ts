/** HTTP on a Unix socket: what pbsctl speaks, and `curl --unix-socket` can. */
import fastify, { type FastifyInstance } from "fastify";
import type { Logger } from "../base/log.js";
import { ControlError, errorBody, toControlError } from "./error.js";
import { EventLog } from "./events.js";
import { addRoutes, type ControlParts } from "./routes.js";
import { listenOnSocket } from "./socket.js";

export interface SocketOptions {
  readonly socket: string;
  /** Whose members may connect as well as the owner; null: the daemon's own group. */
  readonly group: string | null;
}

const BODY_LIMIT = 16 * 1024;
const MAX_CONNECTIONS = 128;

export class ControlServer {
  readonly #app: FastifyInstance;
  readonly #events: EventLog;
  readonly #removeSocket: () => void;

  private constructor(app: FastifyInstance, events: EventLog, removeSocket: () => void) {
    this.#app = app;
    this.#events = events;
    this.#removeSocket = removeSocket;
  }

  /** Rejects with SocketError when the socket cannot be had. */
  static async start(parts: ControlParts, options: SocketOptions, log: Logger): Promise<ControlServer> {
    const events = new EventLog(parts.pbs, () => parts.time.wall());
    const app = fastify({ logger: false, bodyLimit: BODY_LIMIT });
    answerErrors(app, log);
    addRoutes(app, parts, events);
    await app.ready();
    app.server.maxConnections = MAX_CONNECTIONS;
    try {
      const removeSocket = await listenOnSocket(app.server, options.socket, options.group);
      return new ControlServer(app, events, removeSocket);
    } catch (error) {
      events.close();
      throw error;
    }
  }

  /** Ends every connection, followers included. */
  async close(): Promise<void> {
    this.#removeSocket();
    this.#events.close();
    const closed = new Promise<void>((resolve) => this.#app.server.close(() => resolve()));
    this.#app.server.closeAllConnections();
    await closed;
    await this.#app.close();
  }
}

function answerErrors(app: FastifyInstance, log: Logger): void {
  app.setNotFoundHandler((request, reply) => {
    const message = `there is no ${request.method} ${request.url}`;
    return reply
      .status(404)
      .send(errorBody(new ControlError(404, "no-such-route", message, "see docs/operation.md")));
  });
  app.setErrorHandler((error, request, reply) => {
    const known = toControlError(error);
    if (known !== undefined) return reply.status(known.status).send(errorBody(known));
    log.error({ err: error, route: request.routeOptions.url }, "control request failed");
    const internal = new ControlError(500, "internal", "pbsd failed to do that", "see the log of pbsd");
    return reply.status(500).send(errorBody(internal));
  });
}
