/** A finding in words. */
import type { Finding } from "../authorization/detection.js";
import type { AttackEvidence } from "./view.js";

/** "2000000 bytes more arrived than were sent: ..." */
export function evidenceText(evidence: AttackEvidence): string {
  const { sent, received, allowed, epoch, threshold, mark, rule, where } = evidence;
  const numbers = `sent ${sent}, received ${received}, allowed ${allowed}, threshold ${threshold}, epoch ${epoch}`;
  const marked = mark === null ? "" : `, mark ${mark.sequence}`;
  const ruled = rule === null ? "" : `, rule "${rule}"`;
  const place = where === null ? "" : `; between ${where.from} and ${where.to}`;
  return `${summary(evidence)} (${numbers}${marked}${ruled})${place}`;
}

function summary({ kind, amount, period }: Finding): string {
  switch (kind) {
    case "excess":
      return `${amount} bytes more arrived than were sent`;
    case "forged-sequence":
      return `sequence numbers arrived, up to ${amount} ahead of those that the sender had given`;
    case "loss":
      return `${amount} bytes of those sent in the last ${(period / 1000).toFixed(1)} s did not arrive`;
    case "black-hole":
      return `nothing arrives: ${amount} bytes are missing`;
    case "failures":
      return `${amount} packets failed authentication`;
    case "silence":
      return "Queries are not answered";
  }
}
