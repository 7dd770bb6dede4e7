/** Bounds of a service connection. */
import { type Milliseconds, ms, seconds } from "../../base/units.js";

const MIB = 1024 * 1024;

export interface ServerOptions {
  /** Bytes that may wait for one client to read them; above, the client is cut off. */
  readonly queueBytes: number;
  readonly maxClients: number;
  readonly maxNslpsPerClient: number;
  /** Questions that may wait for one client's answer. */
  readonly maxQuestions: number;
  /** A client that has not answered a question by then does not peer. Longer than the node itself waits. */
  readonly decisionTimeout: Milliseconds;
  /** A client has to greet within this. */
  readonly helloTimeout: Milliseconds;
}

export const DEFAULT_SERVER_OPTIONS: ServerOptions = {
  queueBytes: 16 * MIB,
  maxClients: 64,
  maxNslpsPerClient: 16,
  maxQuestions: 4096,
  decisionTimeout: seconds(3),
  helloTimeout: seconds(5),
};

export interface ClientOptions {
  /** Bytes that may wait for the service to read them; what does not fit is refused as "overloaded". */
  readonly queueBytes: number;
  /** Messages whose fate is not known yet; more are refused as "overloaded". */
  readonly maxInFlight: number;
  /** Sessions that hear of a lost service; of more, those that were used last. */
  readonly maxSessions: number;
  /** Messages without a report, and sessions that were not used, are forgotten after so long. */
  readonly memory: Milliseconds;
  /** Waits between tries to connect: the first, and what doubling leads to. */
  readonly shortestWait: Milliseconds;
  readonly longestWait: Milliseconds;
  /** A service that does not greet within this is left. */
  readonly welcomeTimeout: Milliseconds;
}

export const DEFAULT_CLIENT_OPTIONS: ClientOptions = {
  queueBytes: 16 * MIB,
  maxInFlight: 100_000,
  maxSessions: 200_000,
  memory: seconds(600),
  shortestWait: ms(50),
  longestWait: seconds(2),
  welcomeTimeout: seconds(5),
};
