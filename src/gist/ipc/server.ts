/** The service socket: hosts NSLPs of other processes in a GIST node of this one. */
import { createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Counters } from "../../base/counters.js";
import type { Logger } from "../../base/log.js";
import type { Time } from "../../base/time.js";
import { DEFAULT_SERVER_OPTIONS, type ServerOptions } from "./options.js";
import { ServedClient, type ServedContext, type ServiceHost } from "./served-client.js";

export type { ServiceHost } from "./served-client.js";

export interface ServiceServerParts {
  readonly host: ServiceHost;
  /** Peer-Identity of the node as text; clients are told. */
  readonly identity: string;
  readonly time: Time;
  readonly log: Logger;
  /** Why this peer may not use the service; undefined when it may. */
  readonly objection: (socket: Socket) => string | undefined;
  readonly options?: Partial<ServerOptions>;
}

/** One client, for people. */
export interface ServiceClientView {
  readonly name: string;
  readonly nslpIds: readonly number[];
}

export class ServiceServer {
  /** To be put on its socket by whoever knows where that is. */
  readonly listener: Server;
  readonly #context: ServedContext;
  readonly #objection: ServiceServerParts["objection"];
  readonly #clients = new Set<ServedClient>();
  /** NSLPIDs in use by clients. */
  readonly #claimed = new Set<number>();

  constructor(parts: ServiceServerParts) {
    this.#objection = parts.objection;
    this.#context = {
      ...parts,
      options: { ...DEFAULT_SERVER_OPTIONS, ...parts.options },
      counters: new Counters(),
      claim: (nslpId) => this.#claim(nslpId),
      gone: (client) => this.#gone(client),
    };
    this.listener = createServer({ allowHalfOpen: true }, (socket) => {
      const objection = this.#objection(socket);
      const client = this.serve(socket);
      if (objection !== undefined) client.end("not-allowed", objection);
      else if (this.#clients.size > this.#context.options.maxClients)
        client.end("too-many", "the service has as many clients as it takes");
    });
    // Such as no descriptors left: who is connected is served on.
    this.listener.on("error", (error) => {
      this.#context.counters.count("service.accept-failed");
      parts.log.warn({ error: error.message }, "the service could not take a connection");
    });
    // One more than are served, so that it hears why; what comes beyond that is refused by the kernel.
    this.listener.maxConnections = this.#context.options.maxClients + 1;
  }

  /** Takes a connection, however it came about. */
  serve(socket: Duplex): ServedClient {
    const client = new ServedClient(socket, this.#context);
    this.#clients.add(client);
    return client;
  }

  get clients(): readonly ServiceClientView[] {
    return [...this.#clients].map(({ name, nslpIds }) => ({ name, nslpIds: [...nslpIds] }));
  }

  /** Counters by name, such as "service.received.send" or "service.slow-client". */
  counters(): Readonly<Record<string, number>> {
    return this.#context.counters.snapshot();
  }

  /** Tells every client, and takes no more. */
  close(): void {
    this.listener.close();
    for (const client of this.#clients) client.end("stopping", "the service ends");
  }

  #claim(nslpId: number): boolean {
    if (this.#claimed.has(nslpId)) return false;
    this.#claimed.add(nslpId);
    return true;
  }

  #gone(client: ServedClient): void {
    this.#clients.delete(client);
    for (const nslpId of client.nslpIds) {
      this.#context.host.unregister(nslpId);
      this.#claimed.delete(nslpId);
    }
  }
}
