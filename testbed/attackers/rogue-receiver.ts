/**
 * A receiver with a certificate of the right authority whose Permissions break the rules. It answers the first Query that
 * comes. Usage: rogue-receiver PLAN.json ATTACK QUEUE. Prints "listening", then {"sent": N}, and stays until it is ended.
 */
import { readFileSync } from "node:fs";
import type { Signer } from "../../src/authorization/signing.js";
import type { Flow } from "../../src/base/flow.js";
import { bytes, seconds } from "../../src/base/units.js";
import type { PeerDecision, ReceivedMessage } from "../../src/gist/service.js";
import type { SessionId } from "../../src/gist/wire/messages.js";
import { flowOf, mriOf } from "../../src/nslp/mri.js";
import { encodeUnsigned, signatureInput, withSignature } from "../../src/nslp/wire/codec.js";
import { AUTH_ALGORITHM, PBS_NSLP_ID, SOLUTION } from "../../src/nslp/wire/messages.js";
import { makeNode, type RoguePlan, signerNamed, withByteChanged } from "./peer.js";

const VOLUME = bytes(1_000_000);
/** Of Allow-vol's first byte: header, FID, Message-Seq, then the header of Allow-vol. */
const VOLUME_AT = 4 + 20 + 8 + 4;

type Forge = (plan: RoguePlan, session: SessionId, flow: Flow) => readonly Uint8Array[];

const ATTACKS: Readonly<Record<string, Forge>> = {
  honest: (plan, session, flow) => [permission(signerNamed(plan, "own"), session, flow)],
  "altered-signature": (plan, session, flow) => {
    const whole = permission(signerNamed(plan, "own"), session, flow);
    return [withByteChanged(whole, whole.length - 1)];
  },
  "altered-volume": (plan, session, flow) => [
    withByteChanged(permission(signerNamed(plan, "own"), session, flow), VOLUME_AT),
  ],
  "other-flow": (plan, session, flow) => [
    permission(signerNamed(plan, "own"), session, { ...flow, destinationPort: flow.destinationPort + 1 }),
  ],
  "other-address": by("other-address"),
  "other-authority": by("other-authority"),
  expired: by("expired"),
  "each-byte-changed": (plan, session, flow) => {
    const whole = permission(signerNamed(plan, "own"), session, flow);
    return [...whole.keys()].map((at) => withByteChanged(whole, at));
  },
};

function by(name: string): Forge {
  return (plan, session, flow) => [permission(signerNamed(plan, name), session, flow)];
}

function permission(signer: Signer, session: SessionId, flow: Flow): Uint8Array {
  const unsigned = encodeUnsigned({
    type: "permission",
    flow,
    sequence: 1,
    certificate: signer.certificate,
    allowedVolume: VOLUME,
    ttl: seconds(60),
    refresh: seconds(20),
    defense: { solution: SOLUTION.noAction, algorithm: AUTH_ALGORITHM.none, key: new Uint8Array() },
  });
  return withSignature(unsigned, signer.signSync(signatureInput(session, PBS_NSLP_ID, unsigned)));
}

async function main([planFile = "", attackName = "", queue = ""]: readonly string[]): Promise<void> {
  const forge = ATTACKS[attackName];
  if (forge === undefined) throw new Error(`attacks: ${Object.keys(ATTACKS).join(", ")}`);
  const plan = JSON.parse(readFileSync(planFile, "utf8")) as RoguePlan;
  const node = makeNode(plan, Number(queue));
  let answered = false;
  const recvMessage = (message: ReceivedMessage): PeerDecision => {
    const flow = flowOf(message.mri);
    if (message.data.length === 0 || answered || flow === undefined) return { peer: true };
    answered = true;
    const forged = forge(plan, message.sessionId, flow);
    for (const data of forged)
      node.sendMessage({
        data,
        nslpId: PBS_NSLP_ID,
        sessionId: message.sessionId,
        mri: mriOf(flow, "upstream"),
        transfer: { reliable: true, secure: true },
      });
    process.stdout.write(`${JSON.stringify({ sent: forged.length })}\n`);
    return { peer: true };
  };
  const nothing = (): void => undefined;
  node.register(PBS_NSLP_ID, { recvMessage, messageStatus: nothing, networkNotification: nothing });
  await node.start();
  process.stdout.write("listening\n");
}

process.once("SIGTERM", () => process.exit(0));
main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`rogue-receiver: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
