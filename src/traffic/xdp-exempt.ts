/** Exempt classes as the XDP programs match them. What matches goes to the stack, whose rules have the class's rate. */
import type { IpPrefix } from "../base/address.js";
import { PROTOCOL } from "../base/flow.js";
import type { ExemptClass } from "./firewall-rules.js";
import { EXEMPT_BYTES } from "./xdp-native.js";

/** Places in a flow's key, which native.ts writes. */
const SOURCE = 0;
const DESTINATION = 16;
const PROTOCOL_OFFSET = 36;
const FAMILY = 37;
const VALUE = 40;
const PORTS = 80;
const CLASS = 88;
/** Beside a class's number: hosts that need no permission. */
const LEGACY = 256;

interface Range {
  readonly from: number;
  readonly to: number;
}

interface Pattern {
  readonly class: number;
  readonly protocol: number | undefined;
  readonly source: IpPrefix | undefined;
  readonly destination: IpPrefix | undefined;
  readonly sourcePort: Range;
  readonly destinationPort: Range;
}

const ANY_PORT: Range = { from: 0, to: 65535 };

/** All patterns of the classes, and of legacy hosts behind them, in both directions, {@link EXEMPT_BYTES} bytes each. */
export function encodeExempts(classes: readonly ExemptClass[], legacy: readonly IpPrefix[] = []): Uint8Array {
  const hosts = legacy.flatMap((prefix, i) => patternsOfHosts(prefix, classes.length + i));
  const patterns = [...classes.flatMap(patternsOf), ...hosts];
  const out = new Uint8Array(patterns.length * EXEMPT_BYTES);
  patterns.forEach((pattern, i) => encode(pattern, out.subarray(i * EXEMPT_BYTES, (i + 1) * EXEMPT_BYTES)));
  return out;
}

function patternsOfHosts(prefix: IpPrefix, number: number): Pattern[] {
  const all = {
    class: LEGACY + number,
    protocol: undefined,
    sourcePort: ANY_PORT,
    destinationPort: ANY_PORT,
  };
  return [
    { ...all, source: prefix, destination: undefined },
    { ...all, source: undefined, destination: prefix },
  ];
}

function patternsOf({ protocol, ports, from, to }: ExemptClass, number: number): Pattern[] {
  const protocols = ports === undefined ? [protocol] : portProtocols(protocol);
  return protocols.flatMap((p) =>
    (ports ?? [ANY_PORT]).flatMap((range) => [
      {
        class: number,
        protocol: p,
        source: from,
        destination: to,
        sourcePort: ANY_PORT,
        destinationPort: range,
      },
      {
        class: number,
        protocol: p,
        source: to,
        destination: from,
        sourcePort: range,
        destinationPort: ANY_PORT,
      },
    ]),
  );
}

function portProtocols(protocol: number | undefined): number[] {
  return protocol === undefined ? [PROTOCOL.tcp, PROTOCOL.udp] : [protocol];
}

function encode(
  { class: number, protocol, source, destination, sourcePort, destinationPort }: Pattern,
  out: Uint8Array,
): void {
  if (protocol !== undefined) put(out, PROTOCOL_OFFSET, protocol, 0xff);
  if (source !== undefined) putPrefix(out, SOURCE, source);
  if (destination !== undefined) putPrefix(out, DESTINATION, destination);
  // In the machine's byte order, as the program compares numbers.
  const ranges = Uint16Array.of(sourcePort.from, sourcePort.to, destinationPort.from, destinationPort.to);
  out.set(new Uint8Array(ranges.buffer), PORTS);
  out.set(new Uint8Array(BigUint64Array.of(BigInt(number)).buffer), CLASS);
}

function put(out: Uint8Array, at: number, value: number, mask: number): void {
  out[at] = mask;
  out[VALUE + at] = value & mask;
}

function putPrefix(out: Uint8Array, at: number, { address, length }: IpPrefix): void {
  put(out, FAMILY, address.family, 0xff);
  address.bytes.forEach((byte, i) => {
    const bits = Math.min(8, Math.max(0, length - i * 8));
    put(out, at + i, byte, (0xff << (8 - bits)) & 0xff);
  });
}
