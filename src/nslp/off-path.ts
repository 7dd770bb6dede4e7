/**
 * One flow at a router or at its receiver: where its packets come in, and what is done about places that are proven to be off
 * its path. What is blocked is let in again as soon as the flow's own packets no longer arrive, or its signalling comes from there.
 */
import { type DetectionPolicy, offPathText } from "../authorization/reaction.js";
import { type EntranceCount, EntranceWatch, type OffPathProof } from "../authorization/entrances.js";
import type { Flow } from "../base/flow.js";
import { type Bytes, bytes } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { PbsContext } from "./context.js";
import { News } from "./news.js";
import type { PlaceBlock } from "./reactors.js";
import type { Role } from "./view.js";

export interface Traced {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly role: Role;
}

/** What is known at one comparison. */
export interface Compared {
  readonly sent: Bytes;
  readonly received: Bytes;
  /** All that this epoch counts was signed by the sender. */
  readonly signed: boolean;
  /** Packets carry AH. */
  readonly authenticated: boolean;
}

/** Of what was sent while places are blocked at least this share has to arrive. */
const ARRIVES = 0.5;
const NO_ADDRESS = "00:00:00:00:00:00";

export class OffPathWatch {
  readonly #context: PbsContext;
  readonly #flow: Traced;
  readonly #policy: DetectionPolicy;
  readonly #entrances: EntranceWatch;
  readonly #news: News;
  #traced = false;
  #signed = false;
  /** Interface by which the flow's signalling comes; empty: not known. */
  #signalling = "";
  /** What was sent and received when it was last seen that the flow arrives in spite of what is blocked. */
  #since: { readonly sent: Bytes; readonly received: Bytes } | undefined;
  /** The flow's own packets were among those that were dropped. */
  #mutedUntil = 0;
  #over = false;

  constructor(context: PbsContext, flow: Traced, policy: DetectionPolicy) {
    this.#context = context;
    this.#flow = flow;
    this.#policy = policy;
    this.#entrances = new EntranceWatch(policy.limits);
    this.#news = new News(context.time);
  }

  /** The packet path has the flow: where its packets come in is counted from now on, if it can be. */
  trace(sent: Bytes, signed: boolean): void {
    if (this.#traced || this.#over) return;
    this.#traced = this.#context.datapath.trace?.(this.#flow.flow, true) ?? false;
    if (this.#traced) this.begin(sent, signed);
  }

  /** Counting has begun anew. */
  begin(sent: Bytes, signed: boolean): void {
    this.#signed = signed;
    this.#since = undefined;
    this.#entrances.begin(this.#counts(), sent, signed);
  }

  /** The flow's signalling came by this interface: so do its packets. */
  cameBy(name: string): void {
    if (name === "") return;
    this.#signalling = name;
    const blocked = this.#blocked().some((block) => block.interface === name && block.address === undefined);
    if (blocked) this.#lift("its signalling comes from there now");
  }

  fits({ sent, signed }: Compared): void {
    if (this.#traced && this.#isSigned(signed, sent)) this.#entrances.fits(this.#counts(), sent);
  }

  /** @param excess more arrived than was sent */
  look(compared: Compared, excess: boolean): void {
    const { sent, signed } = compared;
    if (!this.#traced || !this.#isSigned(signed, sent)) return;
    const proof = this.#entrances.prove(this.#counts(), sent, excess, this.#signalling);
    if (proof !== undefined) void this.#react(proof, compared);
  }

  /** What was sent by a Query, and received some time after it. */
  settled({ sent, received }: Compared): void {
    if (this.#blocked().length === 0) {
      this.#since = undefined;
      return;
    }
    this.#since ??= { sent, received };
    const span = sent - this.#since.sent;
    if (span <= this.#policy.limits.loss) return;
    if (received - this.#since.received >= ARRIVES * span) {
      this.#since = { sent, received };
      return;
    }
    this.#mutedUntil = this.#context.time.now() + this.#context.options.blockFor;
    this.#lift("its own packets no longer arrive");
  }

  /** What is blocked stays so until its time is over. */
  stop(): void {
    this.#over = true;
    if (this.#traced) this.#context.datapath.trace?.(this.#flow.flow, false);
    this.#traced = false;
  }

  /** Whether counts of before can be compared with those of now. */
  #isSigned(signed: boolean, sent: Bytes): boolean {
    if (signed === this.#signed) return true;
    this.begin(sent, signed);
    return false;
  }

  #counts(): readonly EntranceCount[] {
    return this.#context.datapath.places?.(this.#flow.flow) ?? [];
  }

  #blocked(): readonly PlaceBlock[] {
    return this.#context.places?.blocked(this.#flow.flow) ?? [];
  }

  async #react(proof: OffPathProof, { sent, authenticated }: Compared): Promise<void> {
    const { time, counters } = this.#context;
    const there = this.#blocked();
    const blocks = blocksFor(proof, this.#flow.flow, authenticated).filter(
      (block) => !there.some((other) => samePlace(block, other)),
    );
    // What comes next has to be proven anew.
    this.#entrances.again(this.#counts(), sent);
    if (blocks.length === 0) return;
    counters.count("finding.off-path");
    const { mode, onOffPath } = this.#policy;
    const acts = mode === "react" && onOffPath === "drop" && time.now() >= this.#mutedUntil;
    const where = blocks.map(placeText).join(", ");
    const done = acts ? await this.#blockAll(blocks) : undefined;
    if (done !== "" && !this.#news.take(`${where} ${done}`)) return;
    const said = done === undefined || done === "" ? offPathText(onOffPath, mode, acts) : `cannot: ${done}`;
    const { events } = this.#context;
    events.report("off-path", this.#flow, proofText(proof), undefined, proof);
    events.report("reaction", this.#flow, `${said} (${where})`);
  }

  /** Why it could not be done; empty: it is. */
  async #blockAll(blocks: readonly PlaceBlock[]): Promise<string> {
    const { places, options, counters } = this.#context;
    if (places === undefined) return "this host has no rules for it";
    this.#since = undefined;
    try {
      for (const block of blocks) await places.block(block, options.blockFor);
      counters.count("blocked.places", blocks.length);
      return "";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #lift(why: string): void {
    const { places, events, logger } = this.#context;
    this.#since = undefined;
    events.report("reaction", this.#flow, `let the flow's packets in everywhere again: ${why}`);
    places?.lift(this.#flow.flow).catch((error: unknown) => {
      logger.error({ error, id: this.#flow.id }, "a block could not be ended");
    });
  }
}

/** By the interface where the flow's own packets come in by others, else by the address. */
function blocksFor({ own, strange }: OffPathProof, flow: Flow, authenticated: boolean): PlaceBlock[] {
  const blocks: PlaceBlock[] = [];
  for (const { interface: name, address } of strange) {
    const shared = own.some((place) => place.interface === name);
    if (shared && address === NO_ADDRESS) continue;
    const block = { flow, interface: name, authenticated, ...(shared && { address }) };
    if (!blocks.some((other) => samePlace(block, other))) blocks.push(block);
  }
  return blocks;
}

function samePlace(a: PlaceBlock, b: PlaceBlock): boolean {
  return a.interface === b.interface && a.address === b.address && a.authenticated === b.authenticated;
}

function placeText({ interface: name, address }: PlaceBlock): string {
  return address === undefined ? name : `${address} on ${name}`;
}

function proofText({ how, sent, own, strange }: OffPathProof): string {
  const bytesAt = (places: readonly EntranceCount[]) =>
    places.map((place) => `${place.bytes} bytes ${atText(place)}`).join(", ");
  if (how === "counted")
    return `bytes come in off the path: ${bytesAt(strange)}; of ${sent ?? bytes(0)} that were sent, ${bytesAt(own)}`;
  const failed = strange.map((place) => `${place.failed} ${atText(place)}`).join(", ");
  return `packets that the sender has not signed come in off the path: ${failed}; signed: ${bytesAt(own)}`;
}

function atText({ interface: name, address }: EntranceCount): string {
  return `by ${name} from ${address}`;
}
