/** What happened between two readings. */
import type { Reading } from "./bed.js";
import { Histogram, type HistogramData, type Summary } from "./histogram.js";

export interface Figures {
  readonly name: string;
  readonly seconds: number;
  /** (Query, Permission) pairs that came to their end: new flows and refreshes. */
  readonly pairs: number;
  readonly perSecond: number;
  readonly router: {
    readonly cpuSeconds: number;
    readonly pairsPerCpuSecond: number;
    /** Share of one core. */
    readonly share: number;
    readonly residentBytes: number;
  };
  /** Cores that each side of the tool took, and all else on the machine but the router: where that is much, times say little. */
  readonly cores: { readonly senders: number; readonly receivers: number; readonly others: number };
  readonly flows: {
    readonly live: number;
    readonly granted: number;
    readonly refused: number;
    readonly revoked: number;
    readonly left: number;
    readonly failed: number;
    readonly lost: number;
    readonly toldToWait: number;
  };
  readonly refreshes: { readonly done: number; readonly missed: number };
  readonly retransmissions: { readonly pbs: number; readonly gist: number };
  readonly setUp: Summary;
  readonly refresh: Summary;
  readonly messages: {
    readonly queries: number;
    readonly permissions: number;
    readonly notifies: number;
    readonly gist: number;
  };
  readonly signatures: { readonly made: number; readonly checkedHere: number; readonly badHere: number };
  /** Of PBS messages alone, and of all packets on the links of both sides. */
  readonly bytes: { readonly pbs: number; readonly wire: number };
  /** Longest turn of the tool's own event loops, in milliseconds: latencies are no better than that. */
  readonly stalled: number;
}

export function figures(name: string, from: Reading, to: Reading): Figures {
  const seconds = (to.at - from.at) / 1000;
  const cpuSeconds = to.routerCpu - from.routerCpu;
  const senders = to.sender.cpuSeconds - from.sender.cpuSeconds;
  const receivers = to.receiver.cpuSeconds - from.receiver.cpuSeconds;
  const others = Math.max(0, to.machineCpu - from.machineCpu - cpuSeconds - senders - receivers);
  const sender = (counter: string): number => count(to.sender.pbs, counter) - count(from.sender.pbs, counter);
  const receiver = (counter: string): number =>
    count(to.receiver.pbs, counter) - count(from.receiver.pbs, counter);
  const [granted, refreshed] = [sender("flow.granted"), sender("flow.refreshed")];
  const pairs = granted + refreshed + sender("flow.refused");
  return {
    name,
    seconds,
    pairs,
    perSecond: pairs / seconds,
    router: {
      cpuSeconds,
      pairsPerCpuSecond: cpuSeconds === 0 ? 0 : pairs / cpuSeconds,
      share: cpuSeconds / seconds,
      residentBytes: to.routerBytes,
    },
    cores: { senders: senders / seconds, receivers: receivers / seconds, others: others / seconds },
    flows: {
      live: to.sender.live,
      granted,
      refused: sender("flow.refused"),
      revoked: sender("flow.revoked"),
      left: sender("flow.left"),
      failed: sender("flow.failed"),
      lost: sender("flow.lost"),
      toldToWait: sender("flow.told-to-wait"),
    },
    refreshes: { done: refreshed, missed: sender("refresh.missed") },
    retransmissions: { pbs: sender("retransmissions"), gist: gistAgain(to) - gistAgain(from) },
    setUp: between(from.sender.setUp, to.sender.setUp),
    refresh: between(from.sender.refreshed, to.sender.refreshed),
    messages: {
      queries: sender("query.sent"),
      permissions: receiver("permission.sent"),
      notifies: sender("notify.received"),
      gist: gistMessages(to) - gistMessages(from),
    },
    signatures: {
      made: sender("signature.made") + receiver("signature.made"),
      checkedHere: sender("signature.good") + receiver("signature.good"),
      badHere: sender("signature.bad") + receiver("signature.bad"),
    },
    bytes: {
      pbs: sender("bytes.sent") + receiver("bytes.sent"),
      wire: wireBytes(to) - wireBytes(from),
    },
    stalled: Math.max(to.sender.stalled, to.receiver.stalled),
  };
}

function count(counters: Readonly<Record<string, number>>, name: string): number {
  return counters[name] ?? 0;
}

function between(from: HistogramData | undefined, to: HistogramData | undefined): Summary {
  return (to === undefined ? new Histogram() : Histogram.from(to).since(from)).summary();
}

function gistAgain({ sender, receiver }: Reading): number {
  return count(sender.gist, "sent.query-again") + count(receiver.gist, "sent.query-again");
}

/** GIST messages that both sides sent; the router's own come on top. */
function gistMessages({ sender, receiver }: Reading): number {
  const names = ["query", "response", "confirm", "data", "error", "hello"];
  return [sender, receiver].reduce(
    (all, { gist }) => all + names.reduce((sum, name) => sum + count(gist, `sent.${name}`), 0),
    0,
  );
}

function wireBytes({ sender, receiver }: Reading): number {
  return [sender, receiver].reduce((all, { wire }) => all + wire.sentBytes + wire.receivedBytes, 0);
}
