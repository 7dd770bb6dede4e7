/**
 * A host with a good certificate and associations of its own that floods: all of its Queries are valid, for flows that
 * policy grants. Usage: insider PLAN.json QUERIES_PER_SECOND SECONDS
 * Most refresh one of its sessions with the next Message-Seq; some open a session of their own.
 * Prints one JSON document: {"sent", "opened", "undelivered", "seconds", "cpu" (seconds of a core), "answers": {"permission": N, "notify 18": N…}}.
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
import { mriOf } from "../../src/nslp/mri.js";
import { nextSequence } from "../../src/nslp/sequence.js";
import { decodePbs, encodeUnsigned, signatureInput, withSignature } from "../../src/nslp/wire/codec.js";
import { PBS_NSLP_ID } from "../../src/nslp/wire/messages.js";
import { pause, until } from "../lib/wait.js";
import { makeNode, type RoguePlan, signerNamed } from "./peer.js";

const PORT = 7000;
const VOLUME = bytes(100_000);
const SESSIONS = 50;
/** One of so many Queries opens a session. */
const OPENS = 20;
const TURN_MS = 10;
const QUIET_MS = 1000;
const READY_LIMIT_MS = 10_000;

interface Flowing {
  readonly id: SessionId;
  readonly flow: Flow;
  sequence: number;
}

class Insider implements Nslp {
  readonly answers: Record<string, number> = {};
  sent = 0;
  opened = 0;
  undelivered = 0;
  readonly #plan: RoguePlan;
  readonly #node: GistNode;
  readonly #signer: Signer;
  readonly #sessions: Flowing[] = [];

  constructor(plan: RoguePlan, node: GistNode, signer: Signer) {
    this.#plan = plan;
    this.#node = node;
    this.#signer = signer;
    node.register(PBS_NSLP_ID, this);
  }

  recvMessage(received: ReceivedMessage): PeerDecision {
    if (received.data.length > 0) this.#hear(received.data);
    return { peer: true };
  }

  messageStatus({ error }: { readonly error: string }): void {
    if (error !== "no-error") this.undelivered++;
  }

  networkNotification(): void {
    // What becomes of its routing state does not matter.
  }

  /** Opens the sessions that the flood goes through; GIST takes only a few messages before their paths are known. */
  async prepare(): Promise<void> {
    for (let i = 0; i < SESSIONS; i++) {
      const one = this.#open();
      this.#sessions.push(one);
      this.#query(one);
    }
    await until("all permissions", READY_LIMIT_MS, () => (this.answers["permission"] ?? 0) >= SESSIONS);
    this.sent = 0;
  }

  /** So many Queries at once. */
  burst(count: number): void {
    for (let i = 0; i < count; i++) {
      const one = this.sent % OPENS === 0 ? undefined : this.#sessions[this.sent % SESSIONS];
      this.#query(one ?? this.#open());
    }
  }

  #open(): Flowing {
    const { address, victim } = this.#plan;
    const flow = {
      protocol: 17,
      source: IpAddress.parse(address),
      destination: IpAddress.parse(victim),
      sourcePort: 10_000 + (this.opened++ % 50_000),
      destinationPort: PORT,
    };
    return { id: newSessionId(systemRandom), flow, sequence: nextSequence(undefined, Date.now()) };
  }

  #query(one: Flowing): void {
    const unsigned = encodeUnsigned({
      type: "query",
      flow: one.flow,
      sequence: one.sequence,
      certificate: this.#signer.certificate,
      requestedVolume: VOLUME,
      sentVolume: bytes(0),
    });
    one.sequence = nextSequence(one.sequence, Date.now());
    const signature = this.#signer.signSync(signatureInput(one.id, PBS_NSLP_ID, unsigned));
    this.sent++;
    this.#node.sendMessage({
      data: withSignature(unsigned, signature),
      nslpId: PBS_NSLP_ID,
      sessionId: one.id,
      mri: mriOf(one.flow, "downstream"),
      transfer: { reliable: true, secure: true },
      timeout: seconds(5),
    });
  }

  #hear(data: Uint8Array): void {
    const { message } = decodePbs(data);
    const name = message.type === "notify" ? `notify ${message.info.code}` : message.type;
    this.answers[name] = (this.answers[name] ?? 0) + 1;
  }
}

async function main([planFile = "", rate = "", duration = ""]: readonly string[]): Promise<void> {
  const plan = JSON.parse(readFileSync(planFile, "utf8")) as RoguePlan;
  const node = makeNode(plan);
  const insider = new Insider(plan, node, signerNamed(plan, "own"));
  await node.start();
  await insider.prepare();
  const began = performance.now();
  const elapsed = () => performance.now() - began;
  while (elapsed() < Number(duration) * 1000) {
    // Behind time after a pause, it does not catch up beyond a tenth of a second.
    const due = Math.floor((elapsed() * Number(rate)) / 1000) - insider.sent;
    insider.burst(Math.min(due, Number(rate) / 10));
    await pause(TURN_MS);
  }
  const took = elapsed() / 1000;
  await pause(QUIET_MS);
  const { sent, opened, undelivered, answers } = insider;
  const { user, system } = process.cpuUsage();
  const said = { sent, opened, undelivered, seconds: took, cpu: (user + system) / 1e6, answers };
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`insider: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
