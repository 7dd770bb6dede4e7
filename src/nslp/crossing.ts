/**
 * Detection at routers: what the sender signed to have sent against what came this far, for as many flows as there is room for. A
 * router tells what it finds, and drops what is proven to come in off the path; the rest is the receiver's to decide.
 */
import { type HopCount, type Location, locate } from "../authorization/detection-hops.js";
import { type Comparison, type Finding, type Fresh, VolumeWatch } from "../authorization/detection.js";
import { levelOf } from "../authorization/algorithm.js";
import type { Timer } from "../base/time.js";
import { bytes, type Bytes } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { FlowCount } from "../traffic/datapath.js";
import type { PbsContext } from "./context.js";
import type { AssociationName } from "./demand.js";
import { evidenceText } from "./evidence.js";
import { reportsOf } from "./hops.js";
import { News } from "./news.js";
import type { Crossing, Crossings } from "./crossings.js";
import { type Compared, OffPathWatch } from "./off-path.js";
import { claimOf, readingOf, type Told } from "./readings.js";
import type { AttackEvidence, DetectionView, HopView } from "./view.js";
import { isExcess } from "./watch.js";
import type { HopReport } from "./wire/messages.js";

/** Times that the overlap of two associations may take until only the new one is counted. */
const OVERLAPS = 2;

export class CrossingWatches implements Crossings {
  readonly #context: () => PbsContext;
  readonly #watches = new Map<SessionId, CrossingWatch>();

  constructor(context: () => PbsContext) {
    this.#context = context;
  }

  query(flow: Crossing, query: Told, by: string): void {
    const { options, datapath, nodes } = this.#context();
    if (options.detection.mode === "off") return;
    nodes.learn(query.reports ?? []);
    const watch = this.#watches.get(flow.id);
    if (watch === undefined && this.#watches.size >= options.maxCompared) return;
    const count = datapath.read([flow.flow])[0];
    if (count === undefined) return;
    // Those that have packets are compared, as long as they have.
    if (count.idle === undefined || count.idle > options.comparedIdle) return this.end(flow.id);
    (watch ?? this.#begin(flow)).query(flow, query, count, by);
  }

  told(id: SessionId, sequence: number): void {
    this.#watches.get(id)?.told(sequence);
  }

  begin(flow: Crossing, start: Bytes, fresh: Fresh | undefined): void {
    this.#watches.get(flow.id)?.begin(flow, start, fresh);
  }

  end(id: SessionId): void {
    this.#watches.get(id)?.stop();
    this.#watches.delete(id);
  }

  view(id: SessionId): DetectionView | null {
    return this.#watches.get(id)?.view() ?? null;
  }

  stop(): void {
    for (const watch of this.#watches.values()) watch.stop();
    this.#watches.clear();
  }

  #begin(flow: Crossing): CrossingWatch {
    const watch = new CrossingWatch(this.#context(), flow);
    this.#watches.set(flow.id, watch);
    return watch;
  }
}

class CrossingWatch {
  readonly #context: PbsContext;
  readonly #volumes: VolumeWatch;
  readonly #offPath: OffPathWatch;
  readonly #news: News;
  /** The session itself may be at rest. */
  #flow: Crossing;
  #sent = bytes(0);
  #start = bytes(0);
  /** Of routers before this one, into the last Query. */
  #reports: readonly HopReport[] = [];
  #excess = false;
  /** When nothing of an earlier association passes any more. */
  #aloneFrom = 0;
  #settleTimer: Timer | undefined;
  #findings = 0;
  #attack: AttackEvidence | undefined;

  constructor(context: PbsContext, flow: Crossing) {
    const { time, options } = context;
    this.#context = context;
    this.#flow = flow;
    this.#volumes = new VolumeWatch(options.detection.limits, time.now());
    // What was sent before nobody has compared.
    this.#volumes.begin(flow.epoch);
    this.#offPath = new OffPathWatch(context, flow, options.detection);
    this.#news = new News(time);
    this.#associationIs(flow.association);
  }

  query(flow: Crossing, query: Told, count: FlowCount, by: string): void {
    const { time, options } = this.#context;
    if (flow.association?.spi !== this.#flow.association?.spi) this.#associationIs(flow.association);
    this.#flow = flow;
    this.#sent = query.sentVolume;
    this.#reports = reportsOf(query, this.#volumes.epoch);
    const reading = readingOf(count, time.now());
    this.#offPath.cameBy(by);
    this.#offPath.trace(this.#sent, this.#signed);
    const { finding, doubt } = this.#volumes.claimed(claimOf(query, this.#volumes.epoch), reading);
    this.#excess = isExcess(finding);
    const compared = this.#compared(count);
    if (this.#excess) this.#offPath.look(compared, true);
    else if (!doubt && this.#volumes.last?.verdict === "fits") this.#offPath.fits(compared);
    this.#found(finding);
    this.#settleTimer ??= time.after(options.detection.limits.settle, () => this.#settled());
  }

  told(sequence: number): void {
    const count = this.#count();
    if (count !== undefined) this.#volumes.told(sequence, readingOf(count, this.#context.time.now()));
  }

  begin(flow: Crossing, start: Bytes, fresh: Fresh | undefined): void {
    this.#flow = flow;
    this.#start = start;
    this.#associationIs(flow.association, fresh !== undefined);
    this.#volumes.begin(flow.epoch, fresh);
    this.#offPath.begin(this.#sent, this.#signed);
    this.#settleTimer?.cancel();
    this.#settleTimer = undefined;
  }

  stop(): void {
    this.#settleTimer?.cancel();
    this.#offPath.stop();
  }

  view(): DetectionView {
    const last: Comparison | null = this.#volumes.last ?? null;
    const { mode } = this.#context.options.detection;
    const { epoch } = this.#volumes;
    const hops = this.#reports.map((report) => this.#hopView(report, false));
    const findings = this.#findings;
    return { mode, epoch, start: this.#start, last, hops, findings, attack: this.#attack ?? null };
  }

  #settled(): void {
    this.#settleTimer = undefined;
    const { time, datapath } = this.#context;
    const count = this.#count();
    if (count === undefined) return;
    const { finding } = this.#volumes.settled(readingOf(count, time.now()), (mark) =>
      datapath.countUpTo?.(this.#flow.flow, mark.spi, mark.sequence),
    );
    const compared = this.#compared(count);
    this.#offPath.look(compared, this.#excess);
    this.#offPath.settled(compared);
    this.#found(finding);
  }

  #found(finding: Finding | undefined): void {
    if (finding === undefined) return;
    this.#findings++;
    this.#context.counters.count(`finding.${finding.kind}`);
    if (this.#news.take(`${finding.kind} ${finding.epoch}`)) void this.#report(finding, this.#reports);
  }

  async #report(finding: Finding, reports: readonly HopReport[]): Promise<void> {
    const { events, nodes, options } = this.#context;
    const { id, allowedVolume: allowed } = this.#flow;
    const believed = await nodes.verified(id, reports);
    const hops = believed.map((report) => this.#hopView(report, true));
    const where = this.#locate(finding, hops);
    const { mode } = options.detection;
    const evidence = { ...finding, allowed, rule: null, hops, where, reaction: "alarm", mode } as const;
    this.#attack = evidence;
    const before = where === null ? "; before this router" : "";
    events.report("attack", this.#flow, `${evidenceText(evidence)}${before}`, evidence);
  }

  #locate(finding: Finding, hops: readonly HopCount[]): Location | null {
    const { nodes, signer } = this.#context;
    const { identity: node, certificate } = signer;
    // By the name that other nodes have for this one.
    nodes.learn([{ node, certificate }]);
    const here = { node: nodes.name(node), counted: finding.received };
    const step = locate(finding, [{ node: "sender", counted: finding.sent }, ...hops, here]);
    return step === undefined ? null : { from: step.from, to: step.to, change: step.change };
  }

  #hopView({ node, counted }: HopReport, verified: boolean): HopView {
    return { node: this.#context.nodes.name(node), counted, verified };
  }

  #associationIs(association: AssociationName | undefined, alone = false): void {
    const { time, options } = this.#context;
    const isSigned = association !== undefined && levelOf(association.algorithm) === "public-key";
    const overlap = alone ? 0 : OVERLAPS * options.overlap.duration;
    this.#aloneFrom = isSigned ? time.now() + overlap : Number.POSITIVE_INFINITY;
  }

  get #signed(): boolean {
    return this.#context.time.now() >= this.#aloneFrom;
  }

  #compared({ bytes: received, authentication }: FlowCount): Compared {
    const authenticated = authentication !== undefined;
    return { sent: this.#sent, received, signed: this.#signed, authenticated };
  }

  #count(): FlowCount | undefined {
    return this.#context.datapath.read([this.#flow.flow])[0];
  }
}
