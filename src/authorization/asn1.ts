/** Reading and building ASN.1 with node-forge: only what X.509 certificates and PKCS#10 requests need. */
import forge from "node-forge";

declare module "node-forge" {
  namespace asn1 {
    interface Asn1 {
      /** Content of a BIT STRING as it was, unused-bits byte first, whatever node-forge made of it. */
      bitStringContents?: Bytes;
    }
  }
}

export type Asn1 = forge.asn1.Asn1;

const { Class, Type } = forge.asn1;

/** Bytes that are not the ASN.1 that was expected. */
export class Asn1Error extends Error {
  override readonly name = "Asn1Error";
}

/** Parses DER without anything after it. Throws {@link Asn1Error}. */
export function parseDer(der: Uint8Array): Asn1 {
  try {
    return forge.asn1.fromDer(toBinary(der));
  } catch (error) {
    throw new Asn1Error(`not DER: ${error instanceof Error ? error.message : String(error)}`);
  }
}

export function toDer(node: Asn1): Uint8Array {
  return toBytes(forge.asn1.toDer(node).getBytes());
}

/** The parts of a constructed value. */
export function children(node: Asn1 | undefined): Asn1[] {
  if (node === undefined || !node.constructed || typeof node.value === "string")
    throw new Asn1Error("a constructed value is missing");
  return node.value;
}

/** Child `index`. Throws when there is none. */
export function child(node: Asn1 | undefined, index: number): Asn1 {
  const found = children(node)[index];
  if (found === undefined) throw new Asn1Error(`part ${index} is missing`);
  return found;
}

/** The child with this context-specific tag. */
export function tagged(parts: readonly Asn1[], tag: number): Asn1 | undefined {
  return parts.find((part) => isTagged(part, tag));
}

export function isTagged(node: Asn1, tag: number): boolean {
  return node.tagClass === Class.CONTEXT_SPECIFIC && Number(node.type) === tag;
}

export function isUniversal(node: Asn1, type: forge.asn1.Type): boolean {
  return node.tagClass === Class.UNIVERSAL && node.type === type;
}

/** The content of a primitive value. */
export function content(node: Asn1 | undefined): Uint8Array {
  if (node === undefined || typeof node.value !== "string")
    throw new Asn1Error("a primitive value is missing");
  return toBytes(node.value);
}

export function readOid(node: Asn1 | undefined): string {
  if (node === undefined || !isUniversal(node, Type.OID))
    throw new Asn1Error("an object identifier is missing");
  return forge.asn1.derToOid(toBinary(content(node)));
}

/** The bytes of a BIT STRING, unused-bits byte removed. */
export function readBits(node: Asn1 | undefined): Uint8Array {
  if (node?.bitStringContents === undefined || node.bitStringContents.length === 0)
    throw new Asn1Error("a bit string is missing");
  return toBytes(node.bitStringContents).subarray(1);
}

export function readBoolean(node: Asn1): boolean {
  return isUniversal(node, Type.BOOLEAN) && content(node)[0] !== 0;
}

/** Text of a UTF8String, PrintableString or IA5String. */
export function readText(node: Asn1 | undefined): string {
  const types: readonly number[] = [Type.UTF8, Type.PRINTABLESTRING, Type.IA5STRING];
  if (node === undefined || !types.includes(node.type)) throw new Asn1Error("a text is missing");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content(node));
  } catch {
    throw new Asn1Error("a text is not UTF-8");
  }
}

export function sequence(...parts: Asn1[]): Asn1 {
  return forge.asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, parts);
}

export function set(...parts: Asn1[]): Asn1 {
  return forge.asn1.create(Class.UNIVERSAL, Type.SET, true, parts);
}

/** [tag] EXPLICIT, or IMPLICIT of a constructed type. */
export function context(tag: number, ...parts: Asn1[]): Asn1 {
  return forge.asn1.create(Class.CONTEXT_SPECIFIC, tag, true, parts);
}

/** [tag] IMPLICIT of a primitive type. */
export function contextBytes(tag: number, value: Uint8Array): Asn1 {
  return forge.asn1.create(Class.CONTEXT_SPECIFIC, tag, false, toBinary(value));
}

export function oid(id: string): Asn1 {
  return primitive(Type.OID, toBytes(forge.asn1.oidToDer(id).getBytes()));
}

/** A non-negative integer from its big-endian bytes. */
export function integer(value: Uint8Array): Asn1 {
  const first = value.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? Uint8Array.of(0) : value.subarray(first);
  const signed = (digits[0] ?? 0) < 0x80 ? digits : Uint8Array.of(0, ...digits);
  return primitive(Type.INTEGER, signed);
}

export function boolean(value: boolean): Asn1 {
  return primitive(Type.BOOLEAN, Uint8Array.of(value ? 0xff : 0));
}

export function nothing(): Asn1 {
  return primitive(Type.NULL, new Uint8Array());
}

export function octets(value: Uint8Array): Asn1 {
  return primitive(Type.OCTETSTRING, value);
}

export function bits(value: Uint8Array, unused = 0): Asn1 {
  return primitive(Type.BITSTRING, Uint8Array.of(unused, ...value));
}

export function text(value: string): Asn1 {
  return primitive(Type.UTF8, new TextEncoder().encode(value));
}

/** Time as RFC 5280 section 4.1.2.5 wants it: UTCTime until 2049, GeneralizedTime after. */
export function time(milliseconds: number): Asn1 {
  const date = new Date(milliseconds);
  const short = date.getUTCFullYear() >= 1950 && date.getUTCFullYear() < 2050;
  return forge.asn1.create(
    Class.UNIVERSAL,
    short ? Type.UTCTIME : Type.GENERALIZEDTIME,
    false,
    short ? forge.asn1.dateToUtcTime(date) : forge.asn1.dateToGeneralizedTime(date),
  );
}

function primitive(type: forge.asn1.Type, value: Uint8Array): Asn1 {
  return forge.asn1.create(Class.UNIVERSAL, type, false, toBinary(value));
}

function toBinary(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("latin1");
}

function toBytes(binary: string): Uint8Array {
  return Uint8Array.from(Buffer.from(binary, "latin1"));
}
