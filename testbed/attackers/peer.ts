/** A GIST node of an attacker: everything about it is as it should be, but for what it is used for. */
import { networkInterfaces } from "node:os";
import { loadIdentity } from "../../src/authorization/keys.js";
import { Signer } from "../../src/authorization/signing.js";
import type { IpAddress } from "../../src/base/address.js";
import { silentLogger } from "../../src/base/log.js";
import { systemRandom } from "../../src/base/random.js";
import { SystemTime } from "../../src/base/time.js";
import { GistNode } from "../../src/gist/node.js";
import { SystemTransport } from "../../src/gist/transport/system.js";

/** What the scenario tells an attacker. */
export interface RoguePlan {
  readonly tlsPort: number;
  /** Of a certificate that everybody trusts. */
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

export function signerOf(identity: RogueIdentity): Signer {
  const { privateKey, certificateDer } = load(identity);
  return new Signer(privateKey, certificateDer);
}

/** The signer of an attack; "own" is the honest one. */
export function signerNamed(plan: RoguePlan, name: string): Signer {
  const identity = name === "own" ? plan.own : plan.others[name];
  if (identity === undefined) throw new Error(`the plan has no identity ${name}`);
  return signerOf(identity);
}

/** @param queueNumber kernel queue with Query-mode packets for this host; undefined for one that only asks */
export function makeNode(plan: RoguePlan, queueNumber?: number): GistNode {
  const { certificatePem, keyPem, authoritiesPem } = load(plan.own);
  const time = new SystemTime();
  const transport = new SystemTransport({
    tlsPort: plan.tlsPort,
    queueNumber,
    certificate: certificatePem,
    key: keyPem,
    authorities: authoritiesPem,
    logger: silentLogger,
    time,
  });
  const local = ownAddresses();
  return new GistNode({
    identity: signerOf(plan.own).identity,
    transport,
    time,
    random: systemRandom,
    log: silentLogger,
    isLocal: (address: IpAddress) => local.has(address.toString()),
  });
}

export function withByteChanged(message: Uint8Array, at: number): Uint8Array {
  const changed = Uint8Array.from(message);
  changed[at] = (changed[at] ?? 0) ^ 0xff;
  return changed;
}

function load({ certificate, key, authorities }: RogueIdentity): ReturnType<typeof loadIdentity> {
  return loadIdentity({ certificateFile: certificate, keyFile: key, authorityFiles: authorities });
}

function ownAddresses(): Set<string> {
  return new Set(
    Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)),
  );
}
