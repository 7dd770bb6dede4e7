/** What sending and receiving side share: signing, sending, counting, and checking a share of what comes. */
import { type Signer, verifySignature } from "../authorization/signing.js";
import { TreeVerifier } from "../authorization/tree-verifier.js";
import type { Trust } from "../authorization/trust.js";
import { Counters } from "../base/counters.js";
import type { Flow } from "../base/flow.js";
import { silentLogger } from "../base/log.js";
import type { Random } from "../base/random.js";
import type { Time } from "../base/time.js";
import { ms } from "../base/units.js";
import type { GistService, MessageStatus, ReceivedMessage } from "../gist/service.js";
import type { Direction, SessionId } from "../gist/wire/messages.js";
import { BatchSigner } from "../nslp/batch-signer.js";
import { mriOf } from "../nslp/mri.js";
import {
  type DecodedPbs,
  decodePbs,
  encodeUnsigned,
  PbsWireError,
  signatureInput,
  withSignature,
} from "../nslp/wire/codec.js";
import { PBS_NSLP_ID, type PbsPermission, type PbsQuery, type Unsigned } from "../nslp/wire/messages.js";
import type { FlowSpace } from "./space.js";

export interface SideParts {
  readonly gist: GistService;
  readonly space: FlowSpace;
  /** By the flow's own host on this side. */
  readonly signers: readonly Signer[];
  readonly trust: Trust;
  readonly time: Time;
  readonly random: Random;
  readonly verifiedShare: number;
  /** Has a turn taken after what can be read now has been. */
  readonly later: (turn: () => void) => void;
}

/** Whose message, and which way it goes. */
interface About {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly direction: Direction;
}

export class Side {
  readonly counters = new Counters();
  readonly parts: SideParts;

  readonly #batches = new Map<Signer, BatchSigner>();
  readonly #trees = new TreeVerifier();

  constructor(parts: SideParts) {
    this.parts = parts;
  }

  /**
   * @param wait milliseconds that it may wait for others, to be signed with them; undefined: it is signed by itself
   * @param told GIST says when it has left; only for what is signed by itself
   */
  send(
    about: About & { readonly signer: Signer },
    message: Unsigned<PbsQuery> | Unsigned<PbsPermission>,
    wait?: number,
    told = false,
  ): void {
    const { id, flow, direction, signer } = about;
    const unsigned = encodeUnsigned(message);
    this.counters.count(message.type === "query" ? "query.sent" : "permission.sent");
    if (wait === undefined) return this.#alone(about, unsigned, told);
    const toSign = { id, flow, direction, unsigned };
    const batch = this.#batches.get(signer) ?? this.#batchOf(signer);
    if (wait === 0) batch.sendSoon(toSign);
    else batch.sendWithin(toSign, ms(wait));
  }

  #alone(about: About & { readonly signer: Signer }, unsigned: Uint8Array, told: boolean): void {
    const { id, signer } = about;
    this.#batches.get(signer)?.drop(id);
    const signature = signer.signSync(signatureInput(id, PBS_NSLP_ID, unsigned));
    this.counters.count("signature.made");
    this.#sendSigned(about, withSignature(unsigned, signature), told);
  }

  #batchOf(signer: Signer): BatchSigner {
    const { time } = this.parts;
    const batch = new BatchSigner({
      time,
      counters: this.counters,
      logger: silentLogger,
      signer: () => signer,
      send: (message) => this.#sendSigned(message, message.data),
    });
    this.#batches.set(signer, batch);
    return batch;
  }

  #sendSigned({ id, flow, direction }: About, data: Uint8Array, told = false): void {
    this.counters.count("bytes.sent", data.length);
    this.parts.gist.sendMessage({
      data,
      nslpId: PBS_NSLP_ID,
      sessionId: id,
      mri: mriOf(flow, direction),
      ...(told && { handle: 0 }),
      transfer: { reliable: true, secure: true },
    });
  }

  signer(number: number): Signer {
    const signer = this.parts.signers[number];
    if (signer === undefined) throw new RangeError(`host ${number} has no identity`);
    return signer;
  }

  /** A message as it is on the wire; undefined, and counted, when it is none. */
  read(received: ReceivedMessage): DecodedPbs | undefined {
    this.counters.count("bytes.received", received.data.length);
    try {
      const decoded = decodePbs(received.data);
      this.counters.count(`${decoded.message.type}.received`);
      return decoded;
    } catch (error) {
      if (!(error instanceof PbsWireError)) throw error;
      this.counters.count("malformed");
      return undefined;
    }
  }

  /** Checks a share of the signatures, and counts those that are not good. */
  sample(received: ReceivedMessage, { message, signedPart }: DecodedPbs): void {
    const { verifiedShare, random, trust, time } = this.parts;
    if (message.type === "notify" || verifiedShare === 0) return;
    if (verifiedShare < 1 && random.fraction() >= verifiedShare) return;
    const address = message.type === "query" ? message.flow.source : message.flow.destination;
    const certificate = trust.check(message.certificate, address, time.wall());
    if (certificate.type === "refused") return this.counters.count("signature.bad");
    const input = signatureInput(received.sessionId, PBS_NSLP_ID, signedPart);
    const { tree, signature } = message;
    const good = tree && this.#trees.verify(certificate, input, tree, signature);
    Promise.resolve(good ?? verifySignature(certificate, input, signature)).then(
      (good) => this.counters.count(good ? "signature.good" : "signature.bad"),
      () => this.counters.count("signature.unchecked"),
    );
  }

  status(status: MessageStatus): void {
    if (status.error !== "no-error") this.counters.count(`undelivered.${status.error}`);
  }
}
