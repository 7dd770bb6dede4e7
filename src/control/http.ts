/** HTTP on a Unix socket: what the control programs speak, and `curl --unix-socket` can. */
import fastify, { type FastifyInstance } from "fastify";
import type { Logger } from "../base/log.js";
import { ControlError, errorBody, fromFastify } from "./error.js";
import { listenOnSocket } from "./socket.js";

export interface SocketOptions {
  readonly socket: string;
  /** Whose members may connect as well as the owner; null: the daemon's own group. */
  readonly group: string | null;
}

export interface HttpParts {
  /** Name of the program, for messages. */
  readonly program: string;
  readonly addRoutes: (app: FastifyInstance) => void;
  /** What an error of the program's own stands for; undefined for one that nobody foresaw. */
  readonly explainError: (error: unknown) => ControlError | undefined;
}

const BODY_LIMIT = 16 * 1024;
const MAX_CONNECTIONS = 128;

export class HttpServer {
  readonly #app: FastifyInstance;
  readonly #removeSocket: () => void;

  private constructor(app: FastifyInstance, removeSocket: () => void) {
    this.#app = app;
    this.#removeSocket = removeSocket;
  }

  /** Rejects with SocketError when the socket cannot be had. */
  static async start(parts: HttpParts, options: SocketOptions, log: Logger): Promise<HttpServer> {
    const app = fastify({ logger: false, bodyLimit: BODY_LIMIT });
    answerErrors(app, parts, log);
    parts.addRoutes(app);
    await app.ready();
    app.server.maxConnections = MAX_CONNECTIONS;
    const place = { path: options.socket, group: options.group, owner: parts.program };
    return new HttpServer(app, await listenOnSocket(app.server, place));
  }

  /** Takes the socket away, so that nobody new comes. */
  unlink(): void {
    this.#removeSocket();
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    this.#removeSocket();
    const closed = new Promise<void>((resolve) => this.#app.server.close(() => resolve()));
    this.#app.server.closeAllConnections();
    await closed;
    await this.#app.close();
  }
}

function answerErrors(app: FastifyInstance, { program, explainError }: HttpParts, log: Logger): void {
  app.setNotFoundHandler((request, reply) => {
    const message = `there is no ${request.method} ${request.url}`;
    return reply
      .status(404)
      .send(errorBody(new ControlError(404, "no-such-route", message, "see docs/operation.md")));
  });
  app.setErrorHandler((error, request, reply) => {
    const known = error instanceof ControlError ? error : (explainError(error) ?? fromFastify(error));
    if (known !== undefined) return reply.status(known.status).send(errorBody(known));
    log.error({ err: error, route: request.routeOptions.url }, "control request failed");
    const remedy = `see the log of ${program}`;
    const internal = new ControlError(500, "internal", `${program} failed to do that`, remedy);
    return reply.status(500).send(errorBody(internal));
  });
}
