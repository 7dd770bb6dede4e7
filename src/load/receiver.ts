/** The receiving side: answers Queries for as many hosts as there are identities, refuses and revokes the shares it is told. */
import { sameFlow } from "../base/flow.js";
import { between } from "../base/random.js";
import { bytes, type Milliseconds, ms } from "../base/units.js";
import type {
  MessageStatus,
  NetworkNotification,
  Nslp,
  PeerDecision,
  ReceivedMessage,
} from "../gist/service.js";
import type { SessionId } from "../gist/wire/messages.js";
import { flowOf } from "../nslp/mri.js";
import { NO_DEFENSE } from "../nslp/receiver-keys.js";
import { isNewer, nextSequence } from "../nslp/sequence.js";
import {
  INFO_CLASS,
  INFO_CODE,
  type Info,
  type PbsQuery,
  SUPPORT,
  type SummaryClaim,
  type SummaryGrant,
} from "../nslp/wire/messages.js";
import { GATHERED_FOR, type ReceiverBehaviour } from "./options.js";
import { Side, type SideParts } from "./side.js";
import { FlowTimers } from "./wheel.js";

const RUN_DIGITS = 16;
/** Runs whose names are kept: a restarted sender is another run. */
const MOST_RUNS = 1024;

/** What the Query that is being answered asks for. */
interface Asked {
  readonly support: number;
  /** What its answer says of the flows that it lists. */
  readonly grants: readonly SummaryGrant[];
}

const UNASKED: Asked = { support: 0, grants: [] };

/** How long an answer may wait to be signed with others; undefined: it is signed by itself. */
function waitFor(support: number): number | undefined {
  if ((support & SUPPORT.tree) === 0) return undefined;
  return (support & SUPPORT.patient) === 0 ? 0 : GATHERED_FOR;
}

export class ReceiverSide implements Nslp {
  readonly #side: Side;
  readonly #behaviour: ReceiverBehaviour;
  readonly #timers: FlowTimers;
  /** Names of the runs seen, and each flow's place among them plus one; 0: none so far. */
  readonly #runs: string[] = [];
  readonly #run: Uint16Array;
  readonly #generation: Uint32Array;
  readonly #heard: Uint32Array;
  readonly #sequence: Uint32Array;
  readonly #allowed: Float64Array;
  #asked = UNASKED;

  constructor(parts: SideParts, behaviour: ReceiverBehaviour) {
    const { flows } = parts.space;
    this.#side = new Side(parts);
    this.#behaviour = behaviour;
    this.#timers = new FlowTimers(flows, parts.time.now());
    this.#run = new Uint16Array(flows);
    this.#generation = new Uint32Array(flows);
    this.#heard = new Uint32Array(flows);
    this.#sequence = new Uint32Array(flows);
    this.#allowed = new Float64Array(flows);
  }

  counters(): Record<string, number> {
    return this.#side.counters.snapshot();
  }

  advance(): void {
    this.#timers.advance(this.#now(), (index) => void this.revoke(index));
  }

  /** Takes a permission back; false where there is none. */
  revoke(index: number): boolean {
    if ((this.#allowed[index] ?? 0) === 0) return false;
    this.#timers.cancel(index);
    this.#allowed[index] = 0;
    this.#side.counters.count("flow.revoked");
    this.#refuse(index, INFO_CODE.revoked, "revoked by the load tool");
    return true;
  }

  // --- GIST

  recvMessage(received: ReceivedMessage): PeerDecision {
    if (!received.routingStateCheck) this.#take(received);
    return { peer: flowOf(received.mri) !== undefined };
  }

  messageStatus(status: MessageStatus): void {
    this.#side.status(status);
  }

  networkNotification({ type }: NetworkNotification): void {
    this.#side.counters.count(`notified.${type}`);
  }

  #take(received: ReceivedMessage): void {
    const { space } = this.#side.parts;
    const decoded = this.#side.read(received);
    const place = space.placeOf(received.sessionId);
    if (decoded?.message.type !== "query" || place === undefined) return;
    const query = decoded.message;
    if (!sameFlow(query.flow, space.flow(place))) return this.#side.counters.count("dropped.other-flow");
    this.#side.sample(received, decoded);
    const run = this.#numberOf(received.sessionId.slice(0, RUN_DIGITS));
    if (run === 0) return this.#side.counters.count("dropped.too-many-runs");
    const { index, generation } = place;
    const known = this.#run[index] === run && this.#generation[index] === generation;
    this.#asked = { support: query.support ?? 0, grants: known ? this.#grants(query.summary ?? []) : [] };
    if (known) this.#again(index, query);
    else this.#open(index, run, generation, query);
    this.#asked = UNASKED;
  }

  /** For those of the flows that a Query lists which have permission; the others are not answered. */
  #grants(claims: readonly SummaryClaim[]): SummaryGrant[] {
    const { ttl, refresh } = this.#behaviour;
    const grants: SummaryGrant[] = [];
    for (const { id, sequence } of claims) {
      const index = this.#side.parts.space.placeOf(id)?.index;
      if (index === undefined || this.#id(index) !== id) continue;
      const allowedVolume = bytes(this.#allowed[index] ?? 0);
      if (allowedVolume === 0 || !isNewer(sequence, this.#heard[index] ?? 0)) continue;
      this.#heard[index] = sequence;
      grants.push({
        id,
        sequence: this.#number(index),
        allowedVolume,
        ttl: ms(ttl),
        refresh: ms(refresh),
        epoch: 0,
      });
    }
    return grants;
  }

  #number(index: number): number {
    const sequence = nextSequence(this.#sequence[index] || undefined, this.#side.parts.time.wall());
    this.#sequence[index] = sequence;
    return sequence;
  }

  #open(index: number, run: number, generation: number, query: PbsQuery): void {
    const { refusedShare, revokedShare, revokeWithin } = this.#behaviour;
    const { random } = this.#side.parts;
    this.#timers.cancel(index);
    this.#run[index] = run;
    this.#generation[index] = generation;
    this.#heard[index] = query.sequence;
    this.#sequence[index] = 0;
    this.#allowed[index] = 0;
    if (random.fraction() < refusedShare) {
      this.#side.counters.count("flow.refused");
      return this.#refuse(index, INFO_CODE.refusedByPolicy, "refused by the load tool");
    }
    this.#side.counters.count("flow.granted");
    this.#allowed[index] = query.requestedVolume;
    if (random.fraction() < revokedShare)
      this.#timers.set(index, ms(this.#now() + between(random, 0, revokeWithin)));
    this.#permit(index);
  }

  #again(index: number, query: PbsQuery): void {
    if (!isNewer(query.sequence, this.#heard[index] ?? 0))
      return this.#side.counters.count("dropped.replayed");
    this.#heard[index] = query.sequence;
    const allowed = this.#allowed[index] ?? 0;
    if (allowed === 0) return this.#refuse(index, INFO_CODE.refusedByPolicy, "refused by the load tool");
    if (query.requestedVolume > allowed) {
      this.#side.counters.count("flow.extended");
      this.#allowed[index] = query.requestedVolume;
    }
    this.#permit(index);
  }

  #permit(index: number): void {
    const { ttl, refresh } = this.#behaviour;
    this.#answer(index, {
      allowedVolume: bytes(this.#allowed[index] ?? 0),
      ttl: ms(ttl),
      refresh: ms(refresh),
    });
  }

  #refuse(index: number, code: number, text: string): void {
    const info = { class: INFO_CLASS.permanentFailure, code, objectType: 0, retryAfter: ms(0), text };
    this.#answer(index, { allowedVolume: bytes(0), ttl: ms(0), refresh: ms(0), info });
  }

  #answer(
    index: number,
    content: {
      readonly allowedVolume: ReturnType<typeof bytes>;
      readonly ttl: Milliseconds;
      readonly refresh: Milliseconds;
      readonly info?: Info;
    },
  ): void {
    const { space } = this.#side.parts;
    const flow = space.flow({ index, generation: this.#generation[index] ?? 0 });
    const sequence = this.#number(index);
    const signer = this.#side.signer(space.receiverOf(index));
    const { support, grants: summary } = this.#asked;
    this.#side.send(
      { id: this.#id(index), flow, direction: "upstream", signer },
      {
        type: "permission",
        flow,
        sequence,
        certificate: signer.certificate,
        defense: NO_DEFENSE,
        ...content,
        ...(summary.length > 0 && { summary }),
      },
      content.allowedVolume > 0 ? waitFor(support) : undefined,
    );
  }

  #id(index: number): SessionId {
    const run = this.#runs[(this.#run[index] ?? 0) - 1] ?? "";
    return this.#side.parts.space.sessionId(run, { index, generation: this.#generation[index] ?? 0 });
  }

  #numberOf(run: string): number {
    const known = this.#runs.indexOf(run);
    if (known >= 0) return known + 1;
    if (this.#runs.length >= MOST_RUNS) return 0;
    return this.#runs.push(run);
  }

  #now(): Milliseconds {
    return this.#side.parts.time.now();
  }
}
