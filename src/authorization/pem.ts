/** PEM text (RFC 7468). */
import forge from "node-forge";

/** The DER of each certificate in a PEM text, in order; empty when there is none. */
export function certificatesOf(pem: string): Uint8Array[] {
  return blocksOf(pem, ["CERTIFICATE", "X509 CERTIFICATE"]);
}

/** The DER of the certification requests in a PEM text. */
export function requestsOf(pem: string): Uint8Array[] {
  return blocksOf(pem, ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"]);
}

export function toPem(type: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${type}-----\n${lines.join("\n")}\n-----END ${type}-----\n`;
}

function blocksOf(pem: string, types: readonly string[]): Uint8Array[] {
  return decode(pem)
    .filter((block) => types.includes(block.type))
    .map((block) => Uint8Array.from(Buffer.from(block.body, "latin1")));
}

function decode(pem: string): readonly { readonly type: string; readonly body: string }[] {
  try {
    return forge.pem.decode(pem);
  } catch {
    return [];
  }
}
