/** A flow: the 5-tuple that a permission is about (draft-hong-nsis-pbs-nslp, object FID). */
import { AddressError, IpAddress } from "./address.js";

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

const PROTOCOL_NAMES = new Map<number, string>(
  Object.entries(PROTOCOL).map(([name, number]) => [number, name] as const),
);

/**
 * One direction of a conversation. Ports are 0 for protocols without ports; ICMP echo request and reply
 * between two hosts are one flow in each direction.
 */
export interface Flow {
  readonly protocol: number;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** Whether the ports of this protocol tell flows apart. */
export function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL.tcp || protocol === PROTOCOL.udp;
}

/** The flow of the opposite direction: addresses and ports change places. */
export function reverse(flow: Flow): Flow {
  return {
    protocol: flow.protocol,
    source: flow.destination,
    destination: flow.source,
    sourcePort: flow.destinationPort,
    destinationPort: flow.sourcePort,
  };
}

/** Text that is equal for equal flows and unequal for others, and that a person can read. */
export function flowKey(flow: Flow): string {
  const name = PROTOCOL_NAMES.get(flow.protocol) ?? String(flow.protocol);
  return `${name} ${endpoint(flow.source, flow.sourcePort)} > ${endpoint(flow.destination, flow.destinationPort)}`;
}

export function sameFlow(a: Flow, b: Flow): boolean {
  return (
    a.protocol === b.protocol &&
    a.sourcePort === b.sourcePort &&
    a.destinationPort === b.destinationPort &&
    a.source.equals(b.source) &&
    a.destination.equals(b.destination)
  );
}

/** The inverse of {@link flowKey}. Throws {@link AddressError} with what is wrong. */
export function parseFlow(text: string): Flow {
  const match = /^\s*(\S+)\s+(\S+)\s*(?:>|to)\s*(\S+)\s*$/.exec(text);
  if (match === null)
    throw new AddressError(`"${text}" is not a flow; write: tcp 192.168.20.1:4000 > 192.168.21.4:80`);
  const protocol = parseProtocol(match[1] ?? "");
  const from = parseEndpoint(match[2] ?? "", protocol);
  const to = parseEndpoint(match[3] ?? "", protocol);
  if (from.address.family !== to.address.family) throw new AddressError(`"${text}" mixes IPv4 and IPv6`);
  return {
    protocol,
    source: from.address,
    destination: to.address,
    sourcePort: from.port,
    destinationPort: to.port,
  };
}

/** A protocol by name (tcp, udp, icmp, icmpv6) or number 0 to 255. Throws {@link AddressError}. */
export function parseProtocol(text: string): number {
  if (Object.hasOwn(PROTOCOL, text)) return PROTOCOL[text as keyof typeof PROTOCOL];
  if (/^\d{1,3}$/.test(text) && Number(text) < 256) return Number(text);
  throw new AddressError(`"${text}" is not a protocol; write tcp, udp, icmp, icmpv6 or a number below 256`);
}

export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES.get(protocol) ?? String(protocol);
}

function endpoint(address: IpAddress, port: number): string {
  if (port === 0) return address.toString();
  return address.family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
}

function parseEndpoint(text: string, protocol: number): { address: IpAddress; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const address = IpAddress.parse(match === null ? text : (match[1] ?? match[2] ?? ""));
  const port = match?.[3] === undefined ? 0 : Number(match[3]);
  if (port > 65535) throw new AddressError(`port ${port} in "${text}" is above 65535`);
  if (hasPorts(protocol) === (port === 0))
    throw new AddressError(
      port === 0 ? `"${text}" needs a port` : `"${text}" has a port, but its protocol has none`,
    );
  return { address, port };
}
