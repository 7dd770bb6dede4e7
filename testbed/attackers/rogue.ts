/**
 * A sender with a certificate of the right authority that breaks the rules of PBS. It has a GIST node like everybody
 * else, so that its messages reach their aim over a TLS association. Usage: rogue PLAN.json ATTACK
 * Prints one JSON document: {"sent": N, "refused": N, "answers": [text…]}.
 */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { loadIdentity } from "../../src/authorization/keys.js";
import { Signer } from "../../src/authorization/signing.js";
import { IpAddress } from "../../src/base/address.js";
import type { Flow } from "../../src/base/flow.js";
import { silentLogger } from "../../src/base/log.js";
import { systemRandom } from "../../src/base/random.js";
import { SystemTime } from "../../src/base/time.js";
import { bytes, seconds } from "../../src/base/units.js";
import { GistNode } from "../../src/gist/node.js";
import type { Nslp, PeerDecision, ReceivedMessage } from "../../src/gist/service.js";
import { SystemTransport } from "../../src/gist/transport/system.js";
import { newSessionId } from "../../src/gist/wire/codec.js";
import type { Mri, SessionId } from "../../src/gist/wire/messages.js";
import { decodePbs, encodeUnsigned, signatureInput, withSignature } from "../../src/nslp/wire/codec.js";
import { PBS_NSLP_ID } from "../../src/nslp/wire/messages.js";
import { settled, until, WaitedTooLong } from "../lib/wait.js";

/** What the scenario tells the rogue. */
export interface RoguePlan {
  readonly tlsPort: number;
  readonly own: RogueIdentity;
  /** Signers of other attacks: another authority's, an expired one, one that is not valid yet. */
  readonly others: Readonly<Record<string, RogueIdentity>>;
  readonly address: string;
  readonly victim: string;
  /** A host whose address the rogue claims. */
  readonly spoofed: string;
}

export interface RogueIdentity {
  readonly certificate: string;
  readonly key: string;
  readonly authorities: readonly string[];
}

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
  #sequence = 1000;

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
      mri: mriOf(flow),
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
    const last = whole.length - 1;
    whole[last] = (whole[last] ?? 0) ^ 1;
    rogue.send(session, flow, whole);
  },
  "altered-volume": (rogue, session) => {
    const flow = rogue.flow(7003);
    const { whole } = rogue.query(session, flow);
    // Header 4, FID 4 + 16, Message-Seq 4 + 4, then the header of Req-vol and its value.
    const volumeAt = 4 + 20 + 8 + 4;
    whole[volumeAt] = 0x7f;
    rogue.send(session, flow, whole);
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
    for (let at = 0; at < whole.length; at++) {
      const changed = Uint8Array.from(whole);
      changed[at] = (changed[at] ?? 0) ^ 0xff;
      rogue.send(session, flow, changed);
    }
  },
  truncated: (rogue, session) => {
    const flow = rogue.flow(7013);
    const { whole } = rogue.query(session, flow);
    for (let length = 4; length < whole.length; length += 4)
      rogue.send(session, flow, whole.slice(0, length));
  },
  "random-payload": (rogue, session) => {
    const flow = rogue.flow(7014);
    for (let i = 1; i <= 200; i++) rogue.send(session, flow, systemRandom.bytes(4 * i));
  },
};

function signedBy(name: string, sourcePort: number): Attack {
  return (rogue, session) => {
    const identity = rogue.plan.others[name];
    if (identity === undefined) throw new Error(`the plan has no identity ${name}`);
    const flow = rogue.flow(sourcePort);
    rogue.send(session, flow, rogue.query(session, flow, signerOf(identity)).whole);
  };
}

function signerOf(identity: RogueIdentity): Signer {
  const { privateKey, certificateDer } = load(identity);
  return new Signer(privateKey, certificateDer);
}

function load({ certificate, key, authorities }: RogueIdentity): ReturnType<typeof loadIdentity> {
  return loadIdentity({ certificateFile: certificate, keyFile: key, authorityFiles: authorities });
}

function mriOf(flow: Flow): Mri {
  return {
    method: "path-coupled",
    direction: "downstream",
    source: flow.source,
    destination: flow.destination,
    sourcePrefix: 32,
    destinationPrefix: 32,
    protocol: flow.protocol,
    sourcePort: flow.sourcePort,
    destinationPort: flow.destinationPort,
  };
}

function ownAddresses(): Set<string> {
  return new Set(
    Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)),
  );
}

async function main([planFile = "", attackName = ""]: readonly string[]): Promise<void> {
  const attack = ATTACKS[attackName];
  if (attack === undefined) throw new Error(`attacks: ${Object.keys(ATTACKS).join(", ")}`);
  const plan = JSON.parse(readFileSync(planFile, "utf8")) as RoguePlan;
  const { certificatePem, keyPem, authoritiesPem } = load(plan.own);
  const signer = signerOf(plan.own);
  const time = new SystemTime();
  const transport = new SystemTransport({
    tlsPort: plan.tlsPort,
    queueNumber: undefined,
    certificate: certificatePem,
    key: keyPem,
    authorities: authoritiesPem,
    logger: silentLogger,
    time,
  });
  const local = ownAddresses();
  const isLocal = (address: IpAddress) => local.has(address.toString());
  const config = {
    identity: signer.identity,
    transport,
    time,
    random: systemRandom,
    log: silentLogger,
    isLocal,
  };
  const node = new GistNode(config);
  const rogue = new Rogue(plan, node, signer);
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
