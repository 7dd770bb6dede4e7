/** Reads what tcpdump wrote (pcap, little-endian, Ethernet): enough to count packets without trusting our own code. */

export interface SeenPacket {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Length of the IP datagram, from its own header. 0 for what is not IP. */
  readonly length: number;
  /** 4, 6, or 0 for what is not IP (ARP). */
  readonly version: 0 | 4 | 6;
  /** Of what an Authentication Header protects, where there is one. */
  readonly protocol: number;
  /** The Authentication Header (RFC 4302), if there is one. */
  readonly ah: { readonly spi: number; readonly sequence: number } | undefined;
  readonly source: string;
  readonly destination: string;
  /** 0 where there are none. For ICMP: type, code. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** The transport payload as far as it was captured. */
  readonly payload: Buffer;
}

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const ETHERNET_HEADER = 14;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const TCP = 6;
const UDP = 17;
const HOP_BY_HOP = 0;
const FRAGMENT = 44;
const AH = 51;
const AH_FIXED = 12;

/** Packets of a capture file. A record that tcpdump has not finished is left out. */
export function readPcap(file: Buffer): SeenPacket[] {
  return [...framesOf(file)].map(({ time, frame }) => parseFrame(time, frame));
}

/** What stands in the frames of a capture file behind the Ethernet header. */
export function ipPacketsOf(file: Buffer): Buffer[] {
  return [...framesOf(file)].map(({ frame }) => frame.subarray(ETHERNET_HEADER));
}

function* framesOf(file: Buffer): Generator<{ time: number; frame: Buffer }> {
  if (file.length < FILE_HEADER) return;
  if (file.readUInt32LE(0) !== MAGIC_MICROSECONDS) throw new Error("not a pcap file of this machine");
  let at = FILE_HEADER;
  while (at + RECORD_HEADER <= file.length) {
    const captured = file.readUInt32LE(at + 8);
    const end = at + RECORD_HEADER + captured;
    if (end > file.length) return;
    const time = file.readUInt32LE(at) * 1000 + file.readUInt32LE(at + 4) / 1000;
    yield { time, frame: file.subarray(at + RECORD_HEADER, end) };
    at = end;
  }
}

function parseFrame(time: number, frame: Buffer): SeenPacket {
  const ip = frame.subarray(ETHERNET_HEADER);
  const type = frame.length >= ETHERNET_HEADER ? frame.readUInt16BE(12) : 0;
  if (type === 0x0800 && ip.length >= 20) return parseIpv4(time, ip);
  if (type === 0x86dd && ip.length >= 40) return parseIpv6(time, ip);
  return { ...NOT_IP, time };
}

const NOT_IP: SeenPacket = {
  time: 0,
  length: 0,
  version: 0,
  protocol: 0,
  ah: undefined,
  source: "",
  destination: "",
  sourcePort: 0,
  destinationPort: 0,
  payload: Buffer.alloc(0),
};

function parseIpv4(time: number, ip: Buffer): SeenPacket {
  const headerLength = ((ip[0] ?? 0) & 15) * 4;
  const fragment = (ip.readUInt16BE(6) & 0x1fff) !== 0;
  return {
    time,
    version: 4,
    length: ip.readUInt16BE(2),
    source: ip.subarray(12, 16).join("."),
    destination: ip.subarray(16, 20).join("."),
    ...transport(ip[9] ?? 0, fragment ? Buffer.alloc(0) : ip.subarray(headerLength)),
  };
}

function parseIpv6(time: number, ip: Buffer): SeenPacket {
  let protocol = ip[6] ?? 0;
  let at = 40;
  if (protocol === HOP_BY_HOP) {
    protocol = ip[at] ?? 0;
    at += ((ip[at + 1] ?? 0) + 1) * 8;
  }
  const body = protocol === FRAGMENT ? Buffer.alloc(0) : ip.subarray(at);
  return {
    time,
    version: 6,
    length: 40 + ip.readUInt16BE(4),
    source: ipv6Text(ip.subarray(8, 24)),
    destination: ipv6Text(ip.subarray(24, 40)),
    ...transport(protocol, body),
  };
}

type Transport = Pick<SeenPacket, "protocol" | "ah" | "sourcePort" | "destinationPort" | "payload">;

function transport(protocol: number, body: Buffer): Transport {
  if (protocol !== AH || body.length < AH_FIXED) return { ...upper(protocol, body), ah: undefined };
  const length = ((body[1] ?? 0) + 2) * 4;
  return {
    ...upper(body[0] ?? 0, body.subarray(length)),
    ah: { spi: body.readUInt32BE(4), sequence: body.readUInt32BE(8) },
  };
}

function upper(protocol: number, body: Buffer): Omit<Transport, "ah"> {
  if (body.length < 4) return { protocol, sourcePort: 0, destinationPort: 0, payload: Buffer.alloc(0) };
  if (protocol === TCP || protocol === UDP) {
    const header = protocol === UDP ? 8 : ((body[12] ?? 0) >> 4) * 4;
    return {
      protocol,
      sourcePort: body.readUInt16BE(0),
      destinationPort: body.readUInt16BE(2),
      payload: body.subarray(header),
    };
  }
  return { protocol, sourcePort: body[0] ?? 0, destinationPort: body[1] ?? 0, payload: body.subarray(4) };
}

/** As people write it: the longest run of zeros is "::". */
function ipv6Text(bytes: Buffer): string {
  const words = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  const runs = words.map((_, i) => words.slice(i).findIndex((word) => word !== "0"));
  const lengths = runs.map((length, i) => (length === -1 ? 8 - i : length));
  const longest = Math.max(...lengths);
  if (longest < 2) return words.join(":");
  const at = lengths.indexOf(longest);
  return `${words.slice(0, at).join(":")}::${words.slice(at + longest).join(":")}`;
}
