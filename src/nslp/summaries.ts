/**
 * What a node does with the flows that a signed message lists beside its own. Each is taken only where this node has it with
 * the same two hosts, the same signer, and the same neighbours on its path as the message's own flow. A Query that lists one
 * that cannot be taken goes no further, because behind this node it would refresh a flow off its path; the sender is told
 * which, and refreshes these one by one.
 */
import type { TrustedCertificate } from "../authorization/trust.js";
import type { Time } from "../base/time.js";
import { ms } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { ReceivedMessage } from "../gist/service.js";
import type { PbsContext } from "./context.js";
import { sendNotify } from "./notify.js";
import type { ReceiverSession } from "./receiver-session.js";
import {
  claimAtRest,
  extendAtRest,
  isClaimedAtRest,
  isGrantedAtRest,
  type SummaryOrigin,
} from "./resting-summaries.js";
import type { RouterRest } from "./resting.js";
import type { RouterSession } from "./router-session.js";
import type { SenderSession } from "./sender-session.js";
import { isNewer } from "./sequence.js";
import type { Session } from "./session.js";
import type { Sessions } from "./sessions.js";
import { SummaryAnswer } from "./summary-permissions.js";
import {
  INFO_CLASS,
  INFO_CODE,
  OBJECT_TYPE,
  type PbsPermission,
  type PbsQuery,
  type SummaryClaim,
  type SummaryGrant,
} from "./wire/messages.js";

type AnySession = SenderSession | RouterSession | ReceiverSession;

/** Flows of a summary that answer within this time answer together. */
const ANSWER_WITHIN = ms(50);

export interface ReceivedSummary<M> {
  readonly message: M;
  readonly received: ReceivedMessage;
  readonly certificate: TrustedCertificate;
}

/** What became of a summary Query. */
export type Taken =
  /** It must not go on; the sender has been told. */
  | { readonly type: "refused" }
  /** At the receiver: where all its flows answer. */
  | { readonly type: "taken"; readonly answer: SummaryAnswer | undefined };

interface Claimed {
  readonly session: RouterSession | ReceiverSession;
  readonly claim: SummaryClaim;
}

interface ClaimedAtRest {
  readonly rest: RouterRest;
  readonly claim: SummaryClaim;
}

export class Summaries {
  readonly #context: PbsContext;
  readonly #sessions: Sessions<AnySession>;
  readonly #time: Time;

  constructor(context: PbsContext, sessions: Sessions<AnySession>) {
    this.#context = context;
    this.#sessions = sessions;
    this.#time = context.time;
  }

  /**
   * Takes what a Query lists; its own flow is the caller's.
   * @param own the session of the Query itself
   */
  query(checked: ReceivedSummary<PbsQuery>, own: AnySession | undefined): Taken {
    const { message, received } = checked;
    const { counters } = this.#context;
    const claims = message.summary ?? [];
    const fit = own !== undefined && own.role !== "sender" && own.listable(received.siiHandle);
    const taken: Claimed[] = [];
    const origin = own?.role === "router" ? originOf(checked, own) : undefined;
    const resting: ClaimedAtRest[] = [];
    const strange: SessionId[] = fit ? [] : [received.sessionId];
    for (const claim of claims) {
      const rest = origin === undefined ? undefined : this.#sessions.atRest(claim.id);
      if (origin !== undefined && rest !== undefined) {
        if (fit && isClaimedAtRest(rest, origin)) resting.push({ rest, claim });
        else strange.push(claim.id);
        continue;
      }
      const session = this.#sessions.byId(claim.id);
      if (fit && session !== own && this.#isClaimed(session, own, checked)) taken.push({ session, claim });
      else strange.push(claim.id);
    }
    if (strange.length > 0) {
      counters.count("summary.refused");
      this.#tell(received, message, strange);
      return { type: "refused" };
    }
    counters.count("summary.query-taken");
    const answer =
      own?.role === "receiver" ? new SummaryAnswer(this.#time, taken.length + 1, ANSWER_WITHIN) : undefined;
    for (const { session, claim } of taken) {
      if (isNews(session.heard.query, claim.sequence)) {
        session.heard.query = claim.sequence;
        session.claimed(claim, answer);
      } else answer?.less();
    }
    for (const { rest, claim } of resting) claimAtRest(this.#context, this.#sessions, rest, claim);
    return { type: "taken", answer };
  }

  /** Takes what a Permission lists: at a router before it goes on. What does not fit is passed over, and the sender told. */
  permission(checked: ReceivedSummary<PbsPermission>, own: RouterSession | SenderSession): void {
    const { message, received } = checked;
    const origin = own.role === "router" ? originOf(checked, own) : undefined;
    const strange: SessionId[] = [];
    let extended = 0;
    for (const grant of message.summary ?? []) {
      const rest = origin === undefined ? undefined : this.#sessions.atRest(grant.id);
      if (origin !== undefined && rest !== undefined) {
        if (!isGrantedAtRest(rest, origin, grant)) strange.push(grant.id);
        else if (extendAtRest(this.#context, this.#sessions, rest, grant)) extended++;
        continue;
      }
      const session = this.#sessions.byId(grant.id);
      if (session === own || !this.#isGranted(session, own, checked, grant)) strange.push(grant.id);
      else if (isNews(session.heard.permission, grant.sequence)) {
        session.heard.permission = grant.sequence;
        session.extended(grant);
        extended++;
      }
    }
    this.#context.counters.count("summary.permission-taken");
    this.#context.counters.count("summary.flows-extended", extended);
    if (strange.length === 0) return;
    this.#context.counters.count("summary.flows-strange", strange.length);
    if (own.role === "router") this.#tell(received, message, strange);
  }

  #isClaimed(
    session: AnySession | undefined,
    own: RouterSession | ReceiverSession,
    { received, certificate }: ReceivedSummary<PbsQuery>,
  ): session is RouterSession | ReceiverSession {
    if (session === undefined || session.role === "sender" || session.role !== own.role) return false;
    return (
      session.heard.signers.query === certificate.keyId &&
      session.listable(received.siiHandle) &&
      session.nextPeer === own.nextPeer &&
      samePair(session, own)
    );
  }

  #isGranted(
    session: AnySession | undefined,
    own: RouterSession | SenderSession,
    { received, certificate }: ReceivedSummary<PbsPermission>,
    { epoch }: SummaryGrant,
  ): session is RouterSession | SenderSession {
    if (session === undefined || session.role === "receiver" || session.role !== own.role) return false;
    return (
      session.heard.signers.permission === certificate.keyId &&
      session.previousPeer === own.previousPeer &&
      session.nextPeer === received.siiHandle &&
      session.extendable(epoch) &&
      samePair(session, own)
    );
  }

  #tell(received: ReceivedMessage, { flow }: PbsQuery | PbsPermission, listed: readonly SessionId[]): void {
    sendNotify(
      this.#context,
      { id: received.sessionId, flow },
      {
        class: INFO_CLASS.transientFailure,
        code: INFO_CODE.refreshSingly,
        objectType: OBJECT_TYPE.summary,
        listed,
      },
      "flows that this node cannot refresh together",
    );
  }
}

function originOf(
  { received, certificate }: ReceivedSummary<PbsQuery | PbsPermission>,
  own: RouterSession,
): SummaryOrigin {
  return { signer: certificate.keyId, peer: received.siiHandle, own };
}

/** An older one is neither taken nor refused: something newer has overtaken it. */
function isNews(last: number | undefined, sequence: number): boolean {
  return last === undefined || isNewer(sequence, last);
}

function samePair(a: Session, b: Session): boolean {
  return a.flow.source.equals(b.flow.source) && a.flow.destination.equals(b.flow.destination);
}
