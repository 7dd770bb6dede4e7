/** Reports that routers sign into passing Queries: made at a router, believed at a receiver. */
import { bytesText } from "../base/wire.js";
import { Lru } from "../authorization/lru.js";
import { BusyError, type Signer, verifySignature } from "../authorization/signing.js";
import { keyIdentity, type Trust, type TrustedCertificate } from "../authorization/trust.js";
import { TokenBucket } from "../base/rate-limit.js";
import type { Time } from "../base/time.js";
import type { Bytes } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { Told } from "./readings.js";
import { reportInput } from "./wire/codec.js";
import { type HopReport, PBS_NSLP_ID } from "./wire/messages.js";

/** Nodes whose certificates are kept. */
const MAX_NODES = 4096;
/** New certificates a second that are looked at: whoever passes a Query on may put any into it. */
const LEARNED = 100;
/** A report has the router's certificate in the first of a session, and then each so many: receivers forget. */
const CERTIFICATE_FIRST = 2;
const CERTIFICATE_EVERY = 16;

/** @param number how many reports of this session went before */
export function makeReport(
  signer: Signer,
  id: SessionId,
  number: number,
  said: { readonly epoch: number; readonly counted: Bytes; readonly sequence: number },
): HopReport {
  const fields = { node: signer.identity, ...said };
  const signature = signer.signSync(reportInput(id, PBS_NSLP_ID, fields));
  const certified = number < CERTIFICATE_FIRST || number % CERTIFICATE_EVERY === 0;
  return { ...fields, signature, ...(certified && { certificate: signer.certificate }) };
}

/** Certificates of routers, by the identity of their keys. */
export class KnownNodes {
  readonly #certificates = new Lru<Uint8Array>(MAX_NODES);
  readonly #trust: () => Trust;
  readonly #time: Time;
  readonly #learning: TokenBucket;

  /** @param trust may change while the node runs */
  constructor(trust: () => Trust, time: Time) {
    this.#trust = trust;
    this.#time = time;
    this.#learning = new TokenBucket(time, LEARNED, LEARNED);
  }

  /** Keeps the certificates that come with reports and are good. */
  learn(reports: readonly Pick<HopReport, "node" | "certificate">[]): void {
    for (const { certificate, node } of reports) {
      if (certificate === undefined || this.#knows(node, certificate)) continue;
      if (!this.#learning.take()) return;
      const trusted = this.#trust().check(certificate, undefined, this.#time.wall());
      if (trusted.type === "trusted" && nameOf(keyIdentity(trusted.publicKey)) === nameOf(node))
        this.#certificates.set(nameOf(node), Uint8Array.from(certificate));
    }
  }

  #knows(node: Uint8Array, certificate: Uint8Array): boolean {
    const known = this.#certificates.get(nameOf(node));
    return known !== undefined && Buffer.compare(known, certificate) === 0;
  }

  certificate(node: Uint8Array): TrustedCertificate | undefined {
    const der = this.#certificates.get(nameOf(node));
    const checked = der && this.#trust().check(der, undefined, this.#time.wall());
    return checked?.type === "trusted" ? checked : undefined;
  }

  /** Whether the node said so about this session. Does not reject. */
  async verify(id: SessionId, report: HopReport): Promise<boolean> {
    const certificate = this.certificate(report.node);
    if (certificate === undefined) return false;
    try {
      return await verifySignature(certificate, reportInput(id, PBS_NSLP_ID, report), report.signature);
    } catch (error) {
      if (error instanceof BusyError) return false;
      throw error;
    }
  }

  /** Those reports that their nodes have signed, in their order. Does not reject. */
  async verified(id: SessionId, reports: readonly HopReport[]): Promise<readonly HopReport[]> {
    const good = await Promise.all(reports.map((report) => this.verify(id, report)));
    return reports.filter((_report, i) => good[i]);
  }

  /** For people: common name of its certificate, else the beginning of its key's identity. */
  name(node: Uint8Array): string {
    const subject = this.certificate(node)?.subject ?? "";
    return subject === "" ? nameOf(node).slice(0, 8) : subject;
  }
}

/** Reports of this epoch and into this Query, without the memory of the whole message; others say nothing here. */
export function reportsOf({ reports = [], sequence }: Told, epoch: number): readonly HopReport[] {
  return reports
    .filter((report) => report.sequence === sequence && report.epoch === epoch)
    .map(({ node, counted, signature }) => ({
      node: Uint8Array.from(node),
      epoch,
      counted,
      sequence,
      signature: Uint8Array.from(signature),
    }));
}

function nameOf(node: Uint8Array): string {
  return bytesText(node, "hex");
}
