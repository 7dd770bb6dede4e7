/**
 * At the sender: refreshes of flows to one receiver that fall due within a short time, or could as well be made now, go in one
 * Query that lists them. A flow that has something new to say is not among them.
 */
import type { Random } from "../base/random.js";
import type { Time } from "../base/time.js";
import type { Milliseconds } from "../base/units.js";
import type { PbsOptions } from "./options.js";
import type { SummaryClaim } from "./wire/messages.js";

/** A flow of this host, as far as it can be refreshed with others. */
export interface Member {
  /** Names its two hosts. */
  readonly pair: string;
  /** It has nothing new to say, and its path can do summaries. */
  readonly listable: boolean;
  /** The next node on its path, as its last Permission came from there. */
  readonly nextPeer: string | undefined;
  /** Has its refresh made now if that is not too early; it is then offered. */
  refreshEarly(): void;
  claim(): SummaryClaim;
  queryAlone(): void;
  /** Sends its own Query with what these have to say. */
  queryFor(others: readonly Member[]): void;
}

interface Slot {
  readonly members: Set<Member>;
  /** All of them have the same time until their next refresh, so that they meet again. */
  readonly fraction: number;
}

export class SummaryQueries {
  readonly #time: Time;
  readonly #random: Random;
  readonly #collect: Milliseconds;
  /** Flows of one message. */
  readonly #most: number;
  readonly #pairs = new Map<string, Set<Member>>();
  readonly #slots = new Map<string, Slot>();
  #stopped = false;

  constructor(time: Time, random: Random, { collect, maxListed }: PbsOptions) {
    this.#time = time;
    this.#random = random;
    this.#collect = collect;
    this.#most = maxListed + 1;
  }

  /** The flow has a permission. */
  join(member: Member): void {
    const pair = this.#pairs.get(member.pair);
    if (pair === undefined) this.#pairs.set(member.pair, new Set([member]));
    else pair.add(member);
  }

  leave(member: Member): void {
    this.#slots.get(member.pair)?.members.delete(member);
    const pair = this.#pairs.get(member.pair);
    pair?.delete(member);
    if (pair?.size === 0) this.#pairs.delete(member.pair);
  }

  /**
   * Takes over the refresh of a flow. Returns where in its interval the next refresh is to be, in [0, 1); undefined: it has to
   * go by itself.
   */
  offer(member: Member): number | undefined {
    if (!member.listable || this.#stopped) return undefined;
    const slot = this.#slots.get(member.pair) ?? this.#open(member.pair);
    slot.members.add(member);
    return slot.fraction;
  }

  stop(): void {
    this.#stopped = true;
  }

  #open(pair: string): Slot {
    const slot: Slot = { members: new Set(), fraction: this.#random.fraction() };
    this.#slots.set(pair, slot);
    this.#time.after(this.#collect, () => this.#close(pair, slot));
    return slot;
  }

  #close(pair: string, slot: Slot): void {
    if (this.#stopped) return;
    for (const member of this.#pairs.get(pair) ?? []) {
      if (slot.members.size >= this.#most) break;
      if (!slot.members.has(member)) member.refreshEarly();
    }
    this.#slots.delete(pair);
    for (const members of byPeer(slot.members)) this.#sendAll(members);
  }

  #sendAll(members: readonly Member[]): void {
    for (let first = 0; first < members.length; first += this.#most) {
      const [lead, ...others] = members.slice(first, first + this.#most);
      if (others.length === 0) lead?.queryAlone();
      else lead?.queryFor(others);
    }
  }
}

/** Only flows that go on to the same node travel together. What has changed meanwhile goes alone. */
function byPeer(members: Iterable<Member>): Iterable<readonly Member[]> {
  const groups = new Map<string, Member[]>();
  for (const member of members) {
    const peer = member.listable ? member.nextPeer : undefined;
    if (peer === undefined) {
      member.queryAlone();
      continue;
    }
    const group = groups.get(peer);
    if (group === undefined) groups.set(peer, [member]);
    else group.push(member);
  }
  return groups.values();
}
