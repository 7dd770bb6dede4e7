/**
 * A sender with a certificate of the right authority that breaks the rules of PBS. It has a GIST node like everybody
 * else, so that its messages reach their aim over a TLS association. Usage: rogue PLAN.json ATTACK
 * Prints one JSON document: {"sent": N, "refused": N, "answers": [text…]}.
 */
import { readFileSync } from "node:fs";
import type { Signer } from "../../src/authorization/signing.js";
import { IpAddress } from "../../src/base/address.js";
import type { Flow } from "../../src/base/flow.js";
import { systemRandom } from "../../src/base/random.js";
import { bytes, seconds } from "../../src/base/units.js";
import type { GistNode } from "../../src/gist/node.js";
import type { Nslp, PeerDecision, ReceivedMessage } from "../../src/gist/service.js";
import { newSessionId } from "../../src/gist/wire/codec.js";
import type { SessionId } from "../../src/gist/wire/messages.js";
import { makeReport } from "../../src/nslp/hops.js";
import { mriOf } from "../../src/nslp/mri.js";
import { nextSequence } from "../../src/nslp/sequence.js";
import {
  decodePbs,
  encodeUnsigned,
  MAX_REPORTS,
  signatureInput,
  withReport,
  withSignature,
} from "../../src/nslp/wire/codec.js";
import { PBS_NSLP_ID } from "../../src/nslp/wire/messages.js";
import { settled, until, WaitedTooLong } from "../lib/wait.js";
import { makeNode, type RoguePlan, signerNamed, withByteChanged } from "./peer.js";

const PORT = 7000;
const VOLUME = bytes(100_000);
const REPLAYS = 5;
const ANSWER_LIMIT_MS = 6000;
const QUIET_MS = 700;

class Rogue implements Nslp {
  readonly signer: Signer;
  readonly plan: RoguePlan;
  readonly answers: string[] = [];
  readonly permissions: Uint8Array[] = [];
  sent = 0;
  refused = 0;
  readonly #node: GistNode;
  #sequence = nextSequence(undefined, Date.now());

  constructor(plan: RoguePlan, node: GistNode, signer: Signer) {
    this.plan = plan;
    this.#node = node;
    this.signer = signer;
    node.register(PBS_NSLP_ID, this);
  }

  recvMessage(message: ReceivedMessage): PeerDecision {
    if (message.data.length > 0) this.#hear(message.data);
    return { peer: true };
  }

  messageStatus({ error }: { readonly error: string }): void {
    if (error !== "no-error") this.refused++;
  }

  networkNotification(): void {
    // The rogue does not care what becomes of its routing state.
  }

  flow(sourcePort: number, source = this.plan.address): Flow {
    return {
      protocol: 17,
      source: IpAddress.parse(source),
      destination: IpAddress.parse(this.plan.victim),
      sourcePort,
      destinationPort: PORT,
    };
  }

  /** A Query that is as it should be, unless told otherwise. */
  query(session: SessionId, flow: Flow, signer = this.signer): { unsigned: Uint8Array; whole: Uint8Array } {
    const unsigned = encodeUnsigned({
      type: "query",
      flow,
      sequence: this.#sequence++,
      certificate: signer.certificate,
      requestedVolume: VOLUME,
      sentVolume: bytes(0),
    });
    const signature = signer.signSync(signatureInput(session, PBS_NSLP_ID, unsigned));
    return { unsigned, whole: withSignature(unsigned, signature) };
  }

  send(session: SessionId, flow: Flow, data: Uint8Array): void {
    this.sent++;
    this.#node.sendMessage({
      data,
      nslpId: PBS_NSLP_ID,
      sessionId: session,
      mri: mriOf(flow, "downstream"),
      transfer: { reliable: true, secure: true },
      timeout: seconds(5),
    });
  }

  /** Until answers have come and no more do; attacks that nobody answers take the whole time. */
  async listen(): Promise<void> {
    const known = () => this.answers.length + this.refused;
    const before = known();
    await until("an answer", ANSWER_LIMIT_MS, () => known() > before).catch((error: unknown) => {
      if (!(error instanceof WaitedTooLong)) throw error;
    });
    await settled("the answers", ANSWER_LIMIT_MS, QUIET_MS, known);
  }

  #hear(data: Uint8Array): void {
    const { message } = decodePbs(data);
    if (message.type === "permission") {
      this.permissions.push(Uint8Array.from(data));
      this.answers.push(`permission ${message.allowedVolume} ${message.info?.text ?? ""}`.trim());
    } else if (message.type === "notify")
      this.answers.push(`notify ${message.info.code} ${message.info.text}`);
  }
}

type Attack = (rogue: Rogue, session: SessionId) => void | Promise<void>;

/** Each with a flow of its own, told apart by its source port. */
const ATTACKS: Readonly<Record<string, Attack>> = {
  honest: (rogue, session) => {
    const flow = rogue.flow(7001);
    rogue.send(session, flow, rogue.query(session, flow).whole);
  },
  "altered-signature": (rogue, session) => {
    const flow = rogue.flow(7002);
    const { whole } = rogue.query(session, flow);
    rogue.send(session, flow, withByteChanged(whole, whole.length - 1));
  },
  "altered-volume": (rogue, session) => {
    const flow = rogue.flow(7003);
    const { whole } = rogue.query(session, flow);
    // Header 4, FID 4 + 16, Message-Seq 4 + 4, then the header of Req-vol and its value.
    rogue.send(session, flow, withByteChanged(whole, 4 + 20 + 8 + 4));
  },
  "flow-unlike-mri": (rogue, session) => {
    const flow = rogue.flow(7004);
    const other = { ...flow, destinationPort: PORT + 1 };
    rogue.send(session, flow, rogue.query(session, other).whole);
  },
  "replayed-query": async (rogue, session) => {
    const flow = rogue.flow(7005);
    const { whole } = rogue.query(session, flow);
    rogue.send(session, flow, whole);
    await rogue.listen();
    for (let i = 0; i < REPLAYS; i++) rogue.send(session, flow, whole);
  },
  "replayed-in-new-session": async (rogue, session) => {
    const flow = rogue.flow(7006);
    const { whole } = rogue.query(session, flow);
    rogue.send(session, flow, whole);
    await rogue.listen();
    rogue.send(newSessionId(systemRandom), flow, whole);
  },
  "replayed-permission": async (rogue, session) => {
    const flow = rogue.flow(7007);
    rogue.send(session, flow, rogue.query(session, flow).whole);
    await rogue.listen();
    for (const permission of rogue.permissions)
      for (let i = 0; i < REPLAYS; i++) rogue.send(session, flow, permission);
  },
  "other-address": (rogue, session) => {
    const flow = rogue.flow(7008, rogue.plan.spoofed);
    rogue.send(session, flow, rogue.query(session, flow).whole);
  },
  "other-authority": signedBy("other-authority", 7009),
  expired: signedBy("expired", 7010),
  "not-yet-valid": signedBy("not-yet-valid", 7011),
  "each-byte-changed": (rogue, session) => {
    const flow = rogue.flow(7012);
    const { whole } = rogue.query(session, flow);
    const changed = [...whole.keys()].map((at) => withByteChanged(whole, at));
    return sendMany(rogue, session, flow, changed);
  },
  truncated: (rogue, session) => {
    const flow = rogue.flow(7013);
    const { whole } = rogue.query(session, flow);
    const lengths = Array.from({ length: whole.length / 4 - 1 }, (_, i) => 4 * (i + 1));
    const cut = lengths.map((length) => whole.slice(0, length));
    return sendMany(rogue, session, flow, cut);
  },
  "forged-reports": (rogue, session) => {
    const flow = rogue.flow(7015);
    const { whole } = rogue.query(session, flow);
    rogue.send(session, flow, forgedReports(rogue, session, whole));
  },
  "random-payload": (rogue, session) => {
    const payloads = Array.from({ length: 200 }, (_, i) => systemRandom.bytes(4 * (i + 1)));
    return sendMany(rogue, session, rogue.flow(7014), payloads);
  },
};

/** As many as a Query may carry: of another authority's node, with a bad signature, and with random bytes in between. */
function forgedReports(rogue: Rogue, session: SessionId, whole: Uint8Array): Uint8Array {
  const said = { epoch: 0, counted: bytes(1e9), sequence: 1 };
  const stranger = makeReport(signerNamed(rogue.plan, "other-authority"), session, 0, said);
  const own = makeReport(rogue.signer, session, 0, said);
  const broken = { ...own, signature: systemRandom.bytes(own.signature.length) };
  let data = whole;
  for (let i = 0; i < MAX_REPORTS; i++) data = withReport(data, i % 2 === 0 ? stranger : broken) ?? data;
  return data;
}

/** The first alone: only once its session stands does GIST pass on as many as one likes. */
async function sendMany(
  rogue: Rogue,
  session: SessionId,
  flow: Flow,
  all: readonly Uint8Array[],
): Promise<void> {
  const [first, ...others] = all;
  if (first === undefined) return;
  rogue.send(session, flow, first);
  await rogue.listen();
  for (const data of others) rogue.send(session, flow, data);
}

function signedBy(name: string, sourcePort: number): Attack {
  return (rogue, session) => {
    const flow = rogue.flow(sourcePort);
    rogue.send(session, flow, rogue.query(session, flow, signerNamed(rogue.plan, name)).whole);
  };
}

async function main([planFile = "", attackName = ""]: readonly string[]): Promise<void> {
  const attack = ATTACKS[attackName];
  if (attack === undefined) throw new Error(`attacks: ${Object.keys(ATTACKS).join(", ")}`);
  const plan = JSON.parse(readFileSync(planFile, "utf8")) as RoguePlan;
  const node = makeNode(plan);
  const rogue = new Rogue(plan, node, signerNamed(plan, "own"));
  await node.start();
  await attack(rogue, newSessionId(systemRandom));
  await rogue.listen();
  const { sent, refused, answers } = rogue;
  process.stdout.write(`${JSON.stringify({ sent, refused, answers: [...new Set(answers)] })}\n`);
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`rogue: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
