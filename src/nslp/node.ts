/**
 * The PBS node: one for all roles, which follow from the flow. It hosts the sessions, gives them what arrives from GIST
 * and from the packet path, and answers to control.
 */
import type { AuthenticationLevel } from "../authorization/algorithm.js";
import type { Policy } from "../authorization/decision.js";
import { type Signer, verifySignature } from "../authorization/signing.js";
import type { Trust } from "../authorization/trust.js";
import type { IpAddress } from "../base/address.js";
import { Counters } from "../base/counters.js";
import { type Flow, flowKey, parseFlow } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import type { Random } from "../base/random.js";
import { SourceBuckets, TokenBucket } from "../base/rate-limit.js";
import type { Time } from "../base/time.js";
import { type Bytes, type Milliseconds, ms } from "../base/units.js";
import type {
  GistService,
  MessageStatus,
  NetworkNotification,
  Nslp,
  PeerDecision,
  ReceivedMessage,
} from "../gist/service.js";
import { newSessionId } from "../gist/wire/codec.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { Datapath, DatapathEvent } from "../traffic/datapath.js";
import { Admission, type AdmissionView } from "./admission/admission.js";
import { PuzzleSolver } from "./admission/solver.js";
import { BatchSigner } from "./batch-signer.js";
import { BoundedMemory } from "./bounded.js";
import { type PbsContext, send } from "./context.js";
import { CrossingWatches } from "./crossing.js";
import { EventLog } from "./events.js";
import { KnownNodes } from "./hops.js";
import { Installer } from "./installer.js";
import { type Checked, Intake, type IntakeHandler } from "./intake.js";
import { flowOf } from "./mri.js";
import { sendNotify } from "./notify.js";
import type { ConnectionEnder, PathChanger, PlaceBlocker, SourceBlocker } from "./reactors.js";
import { DEFAULT_PBS_OPTIONS, type PbsOptions } from "./options.js";
import { Spis } from "./receiver-keys.js";
import { type Inheritance, ReceiverSession } from "./receiver-session.js";
import { RouterSession } from "./router-session.js";
import { SenderSession } from "./sender-session.js";
import type { Session } from "./session.js";
import { Sessions } from "./sessions.js";
import { Summaries } from "./summaries.js";
import { SourceMoves } from "./source-moves.js";
import { SummaryQueries } from "./summary-queries.js";
import { PathSupports } from "./supports.js";
import {
  type FlowView,
  NoSuchFlow,
  type PbsControl,
  type PbsEvent,
  type PendingView,
  type RequestOutcome,
} from "./view.js";
import {
  INFO_CLASS,
  INFO_CODE,
  PBS_NSLP_ID,
  type PbsNotify,
  type PbsPermission,
  type PbsQuery,
} from "./wire/messages.js";

type AnySession = SenderSession | RouterSession | ReceiverSession;

export interface PbsNodeParts {
  readonly gist: GistService;
  readonly datapath: Datapath;
  readonly trust: Trust;
  readonly signer: Signer;
  readonly policy: Policy;
  readonly time: Time;
  readonly random: Random;
  readonly logger: Logger;
  readonly isLocal: (address: IpAddress) => boolean;
  /** Absent: flows of this host stay on their path. */
  readonly paths?: PathChanger;
  /** Absent: programs hear with their next packet that a flow gave way. */
  readonly connections?: ConnectionEnder;
  /** Absent: sources are not blocked. */
  readonly blocker?: SourceBlocker;
  /** Absent: what comes in off a flow's path is only told. */
  readonly places?: PlaceBlocker;
  readonly options?: Partial<PbsOptions>;
  /** Absent: on the thread pool. */
  readonly verify?: typeof verifySignature;
}

export class PbsNode implements Nslp, PbsControl, IntakeHandler {
  readonly #context: PbsContext;
  readonly #sessions: Sessions<AnySession>;
  /** How flows of this host ended, by session, for who asks afterwards. */
  readonly #ended: BoundedMemory<FlowView>;
  readonly #intake: Intake;
  readonly #summaries: Summaries;
  #stopped = false;

  constructor(parts: PbsNodeParts) {
    const options = { ...DEFAULT_PBS_OPTIONS, ...parts.options };
    const { time, random } = parts;
    this.#sessions = new Sessions<AnySession>(options, time, (rest) =>
      RouterSession.fromRest(this.#context, rest),
    );
    this.#ended = new BoundedMemory(time, options.maxEnded, options.quarantine);
    const counters = new Counters();
    const events = new EventLog(time, parts.logger);
    const moving = new TokenBucket(time, options.moves.rate, options.moves.rate);
    this.#context = {
      ...parts,
      options,
      installer: new Installer(parts.datapath),
      events,
      counters,
      notifies: new TokenBucket(time, options.notifyRate, options.notifyBurst),
      admission: new Admission({
        time,
        random,
        counters,
        options: options.admission,
        atOnce: options.maxVerifying,
        node: parts.signer.identity,
      }),
      solver: new PuzzleSolver(time),
      refusals: new SourceBuckets(time, options.notifyRate, options.notifyBurst),
      verify: parts.verify ?? verifySignature,
      buried: new BoundedMemory(time, options.maxBuried, options.quarantine),
      spis: new Spis(random),
      nodes: new KnownNodes(() => this.#context.trust, time),
      batch: new BatchSigner({
        time,
        counters,
        logger: parts.logger,
        signer: () => this.#context.signer,
        send: (message) => send(this.#context, message),
      }),
      supports: new PathSupports(time, options),
      summaryQueries: new SummaryQueries(time, random, options),
      moving,
      sourceMoves: new SourceMoves({ ...parts, options, moving, events }),
      reporting: new TokenBucket(time, options.reportRate, options.reportRate),
      firstPaths: new BoundedMemory(time, options.maxFirstPaths, options.moves.returnAfter),
      glancing: new TokenBucket(time, options.glanceRate, options.glanceRate),
      asking: new TokenBucket(time, options.askRate, options.askRate),
      settled: (session) => this.#sessions.settle(session as AnySession),
      rested: (session) => this.#sessions.rest(session as AnySession),
      forget: (session) => this.#forget(session as AnySession),
      release: (session) => this.#release(session),
      crossing: new CrossingWatches(() => this.#context),
      asksFor: (flow) => this.#sessions.byFlow(flow)?.role === "sender",
    };
    this.#intake = new Intake(this.#context, this);
    this.#summaries = new Summaries(this.#context, this.#sessions);
  }

  start(): void {
    this.#context.gist.register(PBS_NSLP_ID, this);
    this.#context.datapath.listen((events) => {
      for (const event of events) this.#happened(event);
    });
  }

  /** Timers stop; permissions stay in the packet path until their time is over. */
  stop(): void {
    this.#stopped = true;
    this.#context.batch.stop();
    this.#context.sourceMoves.stop();
    this.#context.summaryQueries.stop();
    this.#context.crossing.stop();
    this.#sessions.stop();
  }

  /** From now on; what was granted stays granted. */
  setPolicy(policy: Policy): void {
    this.#context.policy = policy;
  }

  /** Signs and believes by these from now on. The key has to be the same: it is what the peers' sessions hold on to. */
  setIdentity(signer: Signer, trust: Trust): void {
    this.#context.signer = signer;
    this.#context.trust = trust;
  }

  // --- GIST

  recvMessage(received: ReceivedMessage): PeerDecision {
    if (!received.routingStateCheck) this.#intake.take(received);
    return { peer: flowOf(received.mri) !== undefined };
  }

  messageStatus(status: MessageStatus): void {
    if (status.error === "no-error") return;
    this.#context.counters.count(`undelivered.${status.error}`);
    const session = this.#sessions.byId(status.sessionId);
    if (session === undefined || status.mri.direction !== "downstream") return;
    const detail = `${status.error}: ${status.detail}`;
    if (session.role === "sender") return session.undeliverable(detail);
    // What went down with an association goes again with the sender's second try.
    const final = status.error !== "transport-failed";
    if (session.role === "router" && session.pending && final) this.#noPathOn(session, detail);
  }

  networkNotification(notification: NetworkNotification): void {
    this.#context.counters.count(`notified.${notification.type}`);
    const session = this.#sessions.byId(notification.sessionId);
    if (session?.role === "router") session.pathUncertain();
    if (session?.role !== "sender") return;
    if (notification.type === "communication-failure" || notification.type === "routing-status-change")
      session.associationLost();
  }

  #noPathOn(session: RouterSession, detail: string): void {
    session.notify(
      {
        class: INFO_CLASS.transientFailure,
        code: INFO_CODE.noAnswer,
        objectType: 0,
        retryAfter: ms(0),
        text: detail,
      },
      false,
    );
  }

  // --- checked messages

  session(id: SessionId): AnySession | undefined {
    return this.#sessions.byId(id);
  }

  query({ message, received, certificate }: Checked<PbsQuery>): void {
    const { isLocal, counters } = this.#context;
    if (isLocal(message.flow.source)) return counters.count("dropped.own-query");
    const known = this.#sessions.byId(received.sessionId);
    if (known?.role === "sender") return counters.count("dropped.own-query");
    const listed = message.summary && this.#summaries.query({ message, received, certificate }, known);
    if (listed?.type === "refused") return;
    const session = known ?? this.#open({ message, received, certificate });
    if (session === undefined) return;
    const { data, hopCount, siiHandle, inboundInterface } = received;
    if (session.role === "receiver") session.query(message, siiHandle, listed?.answer, inboundInterface);
    else if (session.role === "router")
      session.query(message, { data, hopCount }, siiHandle, inboundInterface);
  }

  permission({ message, received, certificate }: Checked<PbsPermission>): void {
    const session = this.#sessions.byId(received.sessionId);
    if (session === undefined || session.role === "receiver") return;
    if (message.summary !== undefined)
      this.#summaries.permission({ message, received, certificate }, session);
    const { data, hopCount, siiHandle } = received;
    if (session.role === "sender") session.permission(message, siiHandle);
    else session.permission(message, { data, hopCount }, siiHandle);
  }

  notify({ info, defense, listed, ticket }: PbsNotify, received: ReceivedMessage): void {
    const session = this.#sessions.byId(received.sessionId);
    if (defense !== undefined && received.mri.direction === "downstream") {
      if (session?.role === "router") return session.algorithmRefused(defense, info);
      if (session?.role === "receiver") return session.algorithmRefused(defense, info.text);
      return this.#context.counters.count("dropped.notify-unknown-session");
    }
    if (session === undefined || session.role === "receiver")
      return this.#context.counters.count("dropped.notify-unknown-session");
    const retryAfter = ms(Math.min(info.retryAfter, this.#context.options.longestAdvice));
    const pending = info.class === INFO_CLASS.informational && info.code === INFO_CODE.pending;
    session.notify({ ...info, retryAfter }, pending, { listed, ticket });
  }

  /** A new session. One of the same flow that is there already makes way: its sender has started anew. */
  #open({ message, received, certificate }: Checked<PbsQuery>): AnySession | undefined {
    const full = this.#sessions.fullFor(received.siiHandle);
    if (full !== undefined) {
      this.#context.counters.count("refused.full");
      sendNotify(
        this.#context,
        { id: received.sessionId, flow: message.flow },
        { class: INFO_CLASS.transientFailure, code: INFO_CODE.tableFull, retryAfter: ms(5000) },
        full,
      );
      return undefined;
    }
    if (this.#isBuriedHere(message.flow, received.sessionId)) return undefined;
    const inherited =
      this.#dismiss(this.#sessions.byFlow(message.flow)) ?? this.#succession(message, certificate);
    const { sessionId: id, siiHandle: upstreamPeer } = received;
    const { flow } = message;
    const session = this.#context.isLocal(flow.destination)
      ? new ReceiverSession(this.#context, {
          id,
          upstreamPeer,
          query: message,
          requester: certificate,
          inherited,
        })
      : new RouterSession(this.#context, {
          id,
          flow,
          upstreamPeer,
          requester: certificate.subject,
          senderKey: certificate.publicKey,
        });
    session.heard.signers.query = certificate.keyId;
    session.heard.query = message.sequence;
    this.#sessions.add(session);
    return session;
  }

  /** A flow that was revoked at this router. A receiver refuses by itself, signed; a router has only a Notify. */
  #isBuriedHere(flow: Flow, id: SessionId): boolean {
    const { isLocal, buried, counters } = this.#context;
    const tombstone = isLocal(flow.destination) ? undefined : buried.get(flowKey(flow));
    if (tombstone === undefined) return false;
    counters.count("refused.revoked");
    const reason = { class: INFO_CLASS.permanentFailure, code: tombstone.code };
    sendNotify(this.#context, { id, flow }, reason, tombstone.reason);
    return true;
  }

  /** What a flow leaves to one that takes its place; it ends by that. */
  #succession(
    { predecessor, flow }: PbsQuery,
    { keyId }: Checked<PbsQuery>["certificate"],
  ): Inheritance | undefined {
    if (predecessor === undefined || !this.#context.isLocal(flow.destination)) return undefined;
    const before = this.#sessions.byId(predecessor);
    const fits = before?.role === "receiver" && before.isFollowedBy(flow, keyId);
    this.#context.counters.count(fits ? "succession.taken" : "succession.unknown");
    return fits ? before.succeed() : undefined;
  }

  #dismiss(earlier: AnySession | undefined): Inheritance | undefined {
    if (earlier === undefined) return undefined;
    const inherited = earlier.role === "receiver" ? earlier.legacy() : undefined;
    earlier.stop();
    this.#forget(earlier);
    // Volume is counted from the start of a session.
    if (!earlier.pending) void this.#context.installer.remove(earlier.flow);
    return inherited;
  }

  #forget(session: AnySession): void {
    this.#sessions.remove(session);
    this.#context.crossing.end(session.id);
    this.#intake.remember(session);
    if (session.role === "sender") this.#ended.set(session.id, session.view());
  }

  #release(session: Pick<Session, "flow">): void {
    if (this.#stopped || this.#sessions.byFlow(session.flow)?.holds === true) return;
    void this.#context.installer.remove(session.flow);
  }

  // --- packet path

  #happened(event: DatapathEvent): void {
    const session = this.#sessions.byFlow(event.flow);
    switch (event.type) {
      case "wanted":
        if (session?.role !== "sender") this.#ask(event.flow, this.#context.options.requestVolume);
        return;
      case "threshold":
        if (session?.role === "sender") session.threshold();
        return;
      case "exhausted":
        if (session?.role === "sender" || session?.role === "receiver") session.exhausted();
        return;
      case "evicted":
        if (session === undefined) return;
        this.#context.events.report("expired", session, "it gave way to a new flow: the flow table is full");
        this.#dismiss(session);
        return;
      case "rekey":
        if (session?.role === "receiver") session.renewKey(event.spi);
        else if (session?.role === "sender") session.newKeyDue(event.spi);
        return;
    }
  }

  #ask(flow: Flow, volume: Bytes): SenderSession | string {
    const { events, datapath, options, random, isLocal } = this.#context;
    const full =
      this.#sessions.fullFor(undefined) ??
      (isLocal(flow.source) ? undefined : "the source is not an address of this host");
    if (full !== undefined) {
      datapath.refuse(flow, options.refuseFor);
      return full;
    }
    const session = new SenderSession(this.#context, newSessionId(random), flow, volume);
    events.report("wanted", session, "asking");
    this.#sessions.add(session);
    session.start();
    return session;
  }

  // --- control

  /** One view at a time: with a million flows the reader sets the pace. */
  *flows(): Iterable<FlowView> {
    for (const session of this.#sessions.all()) yield session.view();
  }

  /** Also of a flow of this host that ended a short while ago, with the reason. */
  flow(id: string): FlowView {
    try {
      return this.#sessions.find(id).view();
    } catch (error) {
      const ended = [...this.#ended.live()].filter(([key]) => id !== "" && key.startsWith(id));
      const [only] = ended;
      if (only === undefined || ended.length > 1) throw error;
      return only[1];
    }
  }

  async request(text: string, volume: Bytes | undefined): Promise<RequestOutcome> {
    const flow = parseFlow(text);
    const there = this.#sessions.byFlow(flow);
    const session =
      there?.role === "sender" ? there : this.#ask(flow, volume ?? this.#context.options.requestVolume);
    if (typeof session === "string")
      return { granted: false, id: "", allowedVolume: 0 as Bytes, reason: session };
    return session.outcome();
  }

  pending(): readonly PendingView[] {
    const views: PendingView[] = [];
    for (const session of this.#sessions.awake())
      if (session.role === "receiver" && session.asksAPerson) views.push(session.pendingView());
    return views;
  }

  async grant(id: string, change: { volume?: Bytes; lifetime?: Milliseconds }): Promise<FlowView> {
    const session = this.#receiving(id);
    await session.grantByHand(change);
    return session.view();
  }

  async authenticate(id: string, level: AuthenticationLevel): Promise<FlowView> {
    const session = this.#receiving(id);
    await session.authenticate(level);
    return session.view();
  }

  async deny(id: string, reason: string | undefined): Promise<void> {
    const session = this.#receiving(id);
    if (!session.asksAPerson)
      throw new NoSuchFlow(`flow ${id} is not waiting for a decision; use revoke to end it`);
    session.denyByHand(reason ?? "refused by the receiver");
  }

  async revoke(id: string, reason: string | undefined): Promise<void> {
    await this.#sessions.find(id).revoke(reason ?? "revoked by the operator");
  }

  listen(listener: (event: PbsEvent) => void): () => void {
    return this.#context.events.listen(listener);
  }

  counters(): Readonly<Record<string, number>> {
    return this.#context.counters.snapshot();
  }

  admission(): AdmissionView {
    return this.#context.admission.view();
  }

  #receiving(id: string): ReceiverSession {
    const session = this.#sessions.find(id);
    if (session.role !== "receiver")
      throw new NoSuchFlow(`flow ${id} does not end at this host: its receiver decides`);
    return session;
  }
}
