/** What the controlling process says to the processes of the two sides, and hears from them: one JSON object a line. */
import type { HistogramData } from "./histogram.js";
import type { Arrival } from "./options.js";

/** "leave": give one up and ask for a new one in its place. Only receivers revoke, and that is all they are told. */
export type Deed = "start" | "refresh" | "modify" | "leave" | "revoke";

export type Command =
  | {
      /** Does this for flows `first` to `first + count - 1`, with `window` Queries under way; answers when all came to an end. */
      readonly do: "batch";
      readonly deed: "start" | "refresh" | "modify";
      readonly first: number;
      readonly count: number;
      readonly window: number;
      /** Milliseconds; what has not ended by then counts as failed. */
      readonly limit: number;
    }
  | {
      /** Does this `rate` times a second: in turn, or to flows chosen at random. Answers when `count` is reached or it is stopped. */
      readonly do: "pace";
      readonly deed: Deed;
      readonly first: number;
      readonly among: number;
      readonly rate: number;
      readonly arrival: Arrival;
      /** Undefined: until stopped. */
      readonly count?: number;
      readonly choose: "in-turn" | "at-random";
      readonly name: string;
    }
  | { readonly do: "stop-pace"; readonly name: string }
  /** From now on flows that are over are not replaced. */
  | { readonly do: "wind-down" }
  | { readonly do: "snapshot" };

export interface BatchResult {
  readonly granted: number;
  readonly refused: number;
  readonly failed: number;
  readonly milliseconds: number;
}

export interface PaceResult {
  readonly done: number;
  /** Could not be done: the flow was in another state. */
  readonly passedOver: number;
  /** How far behind its arrivals the tool was at worst; milliseconds. */
  readonly behind: number;
}

/** All counts are since the start of the process. */
export interface Snapshot {
  readonly live: number;
  readonly underWay: number;
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  /** Of the link towards the router. */
  readonly wire: {
    readonly sentBytes: number;
    readonly sentPackets: number;
    readonly receivedBytes: number;
    readonly receivedPackets: number;
  };
  /** Longest turn of the event loop since the last snapshot, in milliseconds. */
  readonly stalled: number;
  readonly pbs: Readonly<Record<string, number>>;
  readonly gist: Readonly<Record<string, number>>;
  readonly setUp?: HistogramData;
  readonly refreshed?: HistogramData;
}

export type Answer =
  | { readonly ready: true }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string };
