/** pbsd's control server: what pbsctl speaks to. */
import type { Logger } from "../base/log.js";
import { toControlError } from "./errors-of-pbs.js";
import { EventLog } from "./events.js";
import { HttpServer, type SocketOptions } from "./http.js";
import { addRoutes, type ControlParts } from "./routes.js";

export class ControlServer {
  readonly #http: HttpServer;
  readonly #events: EventLog;

  private constructor(http: HttpServer, events: EventLog) {
    this.#http = http;
    this.#events = events;
  }

  /** Rejects with SocketError when the socket cannot be had. */
  static async start(parts: ControlParts, options: SocketOptions, log: Logger): Promise<ControlServer> {
    const events = new EventLog(parts.pbs, () => parts.time.wall());
    const http = {
      program: "pbsd",
      addRoutes: (app: Parameters<typeof addRoutes>[0]) => addRoutes(app, parts, events),
      explainError: toControlError,
    };
    try {
      return new ControlServer(await HttpServer.start(http, options, log), events);
    } catch (error) {
      events.close();
      throw error;
    }
  }

  /** Ends every connection, followers included. */
  async close(): Promise<void> {
    this.#http.unlink();
    this.#events.close();
    await this.#http.close();
  }
}
