/**
 * Detection at the receiver of one flow: readings at Queries, Permissions and after the settle time; hop reports; and what
 * policy says to a finding. The session does what is decided.
 */
import { locate, type Step } from "../authorization/detection-hops.js";
import {
  type Finding,
  type Fresh,
  type Judgement,
  type Reading,
  SHORTEST_SILENCE,
  VolumeWatch,
} from "../authorization/detection.js";
import {
  type Decided,
  type DetectionPolicy,
  reactionText,
  reactionTo,
  type Situation,
} from "../authorization/reaction.js";
import type { Flow } from "../base/flow.js";
import type { Timer } from "../base/time.js";
import { type Bytes, bytes, type Milliseconds, ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { PbsContext } from "./context.js";
import { evidenceText } from "./evidence.js";
import { reportsOf } from "./hops.js";
import { News } from "./news.js";
import { type Compared, OffPathWatch } from "./off-path.js";
import { claimOf, readingOf, type Told } from "./readings.js";
import type { AttackEvidence, DetectionView, HopView } from "./view.js";
import type { Epoch, HopReport } from "./wire/messages.js";

/** The session, as far as it is watched. */
export interface Watched {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly role: "receiver";
  readonly situation: Situation;
  /** All packets of this epoch were signed by the sender. */
  readonly signed: boolean;
  readonly allowedVolume: Bytes;
  readonly ruleName: string | null;
  readonly epoch: Epoch;
  /** Something is to be done: {@link FlowWatch.due}. */
  reactionDue(): void;
  /** Sends a Permission that asks for a Query. */
  askForQuery(): void;
}

/** What policy wants done. */
export interface Due extends Decided {
  /** Key identity of the last router before the place where bytes vanish. */
  readonly mover?: Uint8Array;
}

export function isExcess(finding: Finding | undefined): boolean {
  return finding?.kind === "excess" || finding?.kind === "forged-sequence";
}

/** Settle times between two glances at what arrives, where a Query is not soon to come. */
const GLANCE_AFTER = 10;
/** The Query asked for after the first may be lost, or may not be asked for yet. Who keeps it back wins no more than that. */
const MOST_UNPLACED = 2;

export class FlowWatch {
  readonly #context: PbsContext;
  readonly #flow: Watched;
  readonly #policy: DetectionPolicy;
  readonly #volumes: VolumeWatch;
  #sent = bytes(0);
  #reports: readonly HopReport[] = [];
  /** Summaries in a row that showed an excess: they have no reports, so the flow's own Query is to show it with them. */
  #unplaced = 0;
  #due: Due | undefined;
  /** The router that was asked to change the path: asked twice it has had its chance. */
  #named = "";
  #ask = false;
  #mayAskAt = 0;
  #settleTimer: Timer | undefined;
  #askTimer: Timer | undefined;
  #glanceTimer: Timer | undefined;
  /** What had arrived at the last glance, and in the time before it. */
  #glanced = { received: 0, grown: 0 };
  /** Once from one Query of the sender's own to the next. */
  #mayGlance = true;
  /** Two Queries are needed to see that nothing arrives. */
  #askTwice = false;
  #findings = 0;
  readonly #news: News;
  readonly #offPath: OffPathWatch;
  /** The last Query showed that more had arrived than was sent. */
  #excess = false;
  #attack: AttackEvidence | undefined;
  #over = false;

  constructor(context: PbsContext, flow: Watched, policy: DetectionPolicy) {
    this.#context = context;
    this.#flow = flow;
    this.#policy = policy;
    this.#volumes = new VolumeWatch(policy.limits, context.time.now());
    this.#news = new News(context.time);
    this.#offPath = new OffPathWatch(context, flow, policy);
  }

  /** What is to be done now, by whoever takes it. */
  get due(): boolean {
    return this.#due !== undefined;
  }

  takeDue(): Due | undefined {
    const due = this.#due;
    this.#due = undefined;
    return due;
  }

  /**
   * A Query of the session came.
   * @param by interface by which GIST's Query for the flow had come; empty: not known
   */
  query(query: Told, by: string): void {
    this.#sent = query.sentVolume;
    this.#offPath.cameBy(by);
    this.#context.nodes.learn(query.reports ?? []);
    this.#reports = reportsOf(query, this.#volumes.epoch);
    const reading = this.#read();
    if (reading === undefined) return;
    this.#glanceLater(reading);
    const judgement = this.#volumes.claimed(claimOf(query, this.#volumes.epoch), reading);
    this.#lookOffPath(judgement, reading);
    this.#judge(this.#placeable(judgement, query));
    this.#settleTimer ??= this.#context.time.after(this.#policy.limits.settle, () => this.#settled());
  }

  /** A Permission with this Message-Seq is being made. Says whether it shall ask for a Query at once. */
  told(sequence: number): boolean {
    const reading = this.#read();
    if (reading !== undefined) {
      this.#volumes.told(sequence, reading);
      this.#offPath.trace(this.#sent, this.#flow.signed);
    }
    const ask = this.#ask;
    this.#ask = false;
    return ask;
  }

  /** The packet path counts anew; `fresh`, where nothing of an earlier association counts from now on. */
  begin(epoch: number, fresh?: Fresh): void {
    this.#volumes.begin(epoch, fresh);
    this.#offPath.begin(this.#sent, this.#flow.signed);
    this.#settleTimer?.cancel();
    this.#settleTimer = undefined;
  }

  /** The volume is used up, perhaps by somebody else. */
  exhausted(): void {
    const read = this.#read();
    if (read === undefined || read.received - this.#sent <= this.#policy.limits.excess) return;
    if (this.#wantsQuery()) this.#flow.askForQuery();
  }

  stop(): void {
    this.#over = true;
    this.#settleTimer?.cancel();
    this.#askTimer?.cancel();
    this.#glanceTimer?.cancel();
    this.#offPath.stop();
  }

  view(): DetectionView {
    const { epoch, start } = this.#flow.epoch;
    return {
      mode: this.#policy.mode,
      epoch,
      start,
      last: this.#volumes.last ?? null,
      hops: this.#reports.map((report) => this.#hopView(report, false)),
      findings: this.#findings,
      attack: this.#attack ?? null,
    };
  }

  #settled(): void {
    this.#settleTimer = undefined;
    const reading = this.#read();
    if (reading === undefined || this.#over) return;
    const judgement = this.#volumes.settled(reading, (mark) =>
      this.#context.datapath.countUpTo?.(this.#flow.flow, mark.spi, mark.sequence),
    );
    const compared = this.#compared(reading);
    this.#offPath.look(compared, this.#excess);
    this.#offPath.settled(compared);
    this.#judge(judgement);
    if (this.#due !== undefined) return this.#flow.reactionDue();
    if (!judgement.doubt && !this.#askTwice) return;
    this.#askTwice = false;
    // A second bad period shows sooner this way than at the next refresh.
    this.#askTimer?.cancel();
    this.#askTimer = this.#context.time.after(this.#askAfter, () => this.#askNow());
  }

  #askNow(): void {
    if (this.#wantsQuery()) this.#flow.askForQuery();
  }

  /** From a bad period to the Query that shows whether the next one is bad too, and at least between two such Queries. */
  get #askAfter(): Milliseconds {
    return ms(this.#policy.limits.settle * SHORTEST_SILENCE);
  }

  /** A refresh may be a minute away when the path goes dark; while a flow runs, its count is looked at meanwhile. */
  #glanceLater({ received }: Reading): void {
    if (this.#glanceTimer !== undefined || !this.#context.glancing.take()) return;
    this.#glanced = { received, grown: 0 };
    this.#mayGlance = true;
    this.#glance();
  }

  #glance(): void {
    const { time } = this.#context;
    this.#glanceTimer = time.after(ms(this.#policy.limits.settle * GLANCE_AFTER), () => {
      this.#glanceTimer = undefined;
      if (this.#seesTraffic() && this.#context.glancing.take()) this.#glance();
    });
  }

  /** Says whether another glance may tell more. A stream that ends in one moment is either over or cut. */
  #seesTraffic(): boolean {
    const received = this.#read()?.received;
    if (received === undefined || this.#over) return false;
    const { excess, loss } = this.#policy.limits;
    const before = this.#glanced;
    const grown = received - before.received;
    this.#glanced = { received, grown };
    if (grown > excess) return true;
    if (before.grown < loss || !this.#mayGlance || !this.#context.asking.take()) return false;
    this.#mayGlance = false;
    this.#askTwice = true;
    this.#askNow();
    return false;
  }

  #lookOffPath({ finding, doubt }: Judgement, reading: Reading): void {
    this.#excess = isExcess(finding);
    const compared = this.#compared(reading);
    if (this.#excess) this.#offPath.look(compared, true);
    else if (!doubt && this.#volumes.last?.verdict === "fits") this.#offPath.fits(compared);
  }

  #compared({ received, association }: Reading): Compared {
    const { signed } = this.#flow;
    return { sent: this.#sent, received, signed, authenticated: association !== undefined };
  }

  #wantsQuery(): boolean {
    const now = this.#context.time.now();
    if (now < this.#mayAskAt) return false;
    this.#mayAskAt = now + this.#askAfter;
    this.#ask = true;
    return true;
  }

  /** What is too much stays too much: a Query of the flow's own shows it again, and routers say in it where. */
  #placeable(judgement: Judgement, { listed = false }: Told): Judgement {
    const waits = judgement.finding !== undefined && listed && this.#unplaced < MOST_UNPLACED;
    this.#unplaced = waits ? this.#unplaced + 1 : 0;
    return waits ? { finding: undefined, doubt: true } : judgement;
  }

  #judge({ finding, doubt }: Judgement): void {
    if (finding === undefined) {
      if (doubt) this.#wantsQuery();
      return;
    }
    this.#findings++;
    this.#context.counters.count(`finding.${finding.kind}`);
    const decided = reactionTo(finding.kind, this.#policy, this.#flow.situation);
    const acts = decided.reaction !== "alarm" && this.#policy.mode === "react";
    // Who is to change the path is known once the reports are checked.
    if (acts && decided.reaction !== "change-path") this.#due = decided;
    const isNews = this.#news.take(`${finding.kind} ${finding.epoch}`);
    if (acts || isNews) void this.#report(finding, decided, this.#reports);
  }

  async #report(finding: Finding, decided: Decided, reports: readonly HopReport[]): Promise<void> {
    const { allowedVolume: allowed, ruleName: rule } = this.#flow;
    const { mode } = this.#policy;
    const believed = await this.#context.nodes.verified(this.#flow.id, reports);
    const hops = believed.map((report) => this.#hopView(report, true));
    const step = this.#locate(finding, hops);
    const where = step === undefined ? null : { from: step.from, to: step.to, change: step.change };
    const evidence = { ...finding, allowed, rule, hops, where, reaction: decided.reaction, mode };
    this.#attack = evidence;
    const { events } = this.#context;
    events.report("attack", this.#flow, evidenceText(evidence), evidence);
    events.report("reaction", this.#flow, `${reactionText(decided.reaction, mode)}: ${decided.why}`);
    if (this.#over || mode !== "react" || decided.reaction !== "change-path") return;
    const mover = this.#moverFor(step, believed);
    this.#due = { ...decided, ...(mover && { mover }) };
    this.#flow.reactionDue();
  }

  /** The router behind which bytes vanish may know another way; otherwise, or when that did not help, the sender. */
  #moverFor(step: Step | undefined, believed: readonly HopReport[]): Uint8Array | undefined {
    // The sender stands first among the hops.
    const node = step === undefined ? undefined : believed[step.place - 1]?.node;
    const name = node === undefined ? "" : Buffer.from(node).toString("hex");
    if (node === undefined || this.#named === name) return undefined;
    this.#named = name;
    return node;
  }

  #locate(finding: Finding, hops: readonly HopView[]): Step | undefined {
    const sender = { node: "sender", counted: finding.sent };
    return locate(finding, [sender, ...hops, { node: "receiver", counted: finding.received }]);
  }

  #hopView({ node, counted }: HopReport, verified: boolean): HopView {
    return { node: this.#context.nodes.name(node), counted, verified };
  }

  #read(): Reading | undefined {
    const count = this.#context.datapath.read([this.#flow.flow])[0];
    return count && readingOf(count, this.#context.time.now());
  }
}
