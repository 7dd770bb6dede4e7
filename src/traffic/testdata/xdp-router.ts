/**
 * A router of the XDP engine's tests, run inside a network namespace. Takes one JSON command a line on standard input and
 * answers each with one JSON line. "judge" and "fuzz" compare: an engine with XDP programs, whose queues get what the
 * programs leave to the stack, and an engine of queues alone. No packet is sent for them.
 */
import { readFileSync } from "node:fs";
import { IpPrefix } from "../../base/address.js";
import { ALGORITHMS } from "../../base/algorithm.js";
import { type Flow, flowKey, parseFlow, PROTOCOL } from "../../base/flow.js";
import { silentLogger } from "../../base/log.js";
import { bytes, ms, seconds } from "../../base/units.js";
import type { ExemptClass, SharedRates } from "../firewall-rules.js";
import { Firewall } from "../firewall.js";
import {
  DECISION,
  encodeFlows,
  type Handle,
  native,
  type NativeAuthentication,
  PLACE_VALUES,
  PLACES_VALUES,
  PROBLEM,
  programsFile,
  READ_VALUES,
} from "../native.js";
import type { XdpHandle } from "../native-handles.js";
import {
  authenticated,
  AUTHENTICATED,
  datagram,
  EXPIRED,
  KEY,
  LIMITED,
  PERMITTED,
  type Shape,
  SPI,
  VERDICTS,
  VOLUME,
  type VerdictCase,
} from "./verdicts.js";
import { XdpDatapath, type XdpOptions } from "../xdp.js";
import { encodeExempts } from "../xdp-exempt.js";
import { encodeBounds } from "../xdp-bounds.js";
import { EGRESS, XDP_ACTION } from "../xdp-native.js";
import { BARE_ENGINE } from "./bare-engine.js";
import { answerCommands } from "./commands.js";

interface Command {
  readonly do: string;
  readonly flows: readonly string[];
  readonly volume: number;
  readonly rounds: number;
  readonly seed: number;
  readonly options: Partial<XdpOptions>;
}

const CAPACITY = 1000;
/** Low, so that a flood is over it. */
const INTERCEPT_RATE = 10;
const FLOOD = 3000;
const REFUSE_MARK = 0x100;
/** To verify, by HMAC-SHA-256-128. */
const AUTHENTICATION: NativeAuthentication = {
  action: 1,
  spi: SPI,
  algorithm: ALGORITHMS.indexOf("hmac-sha256-128"),
  key: KEY,
  overlap: 0,
  overlapBytes: 0,
};
const QUEUE_BASE = 2700;
const TRACE_NUMBER = 1;
const HOUR = 3_600_000;
/** Used up by some hundreds of super-packets. */
const SOME_VOLUME = 1_000_000;
const addon = native();

/** Frames for an interface of this router. */
const INSIDE = "inside";
const OUTSIDE = "outside";

/** Hardware addresses: of the last hop, of another, and whatever it is. */
const HOP = [2, 0, 0, 0, 0, 0];
const OTHER_HOP = [2, 0, 0, 0, 0, 1];
const ANY_HOP = [0, 0, 0, 0, 0, 0];

function interfaceFile(name: string, file: string): string {
  return readFileSync(`/sys/class/net/${name}/${file}`, "utf8").trim();
}

function indexOf(name: string): number {
  return Number(interfaceFile(name, "ifindex"));
}

function openEngine(xdp?: XdpHandle): Handle {
  return addon.open(
    {
      capacity: CAPACITY,
      ...BARE_ENGINE,
      refuseMark: REFUSE_MARK,
      ...(xdp === undefined ? {} : { xdp }),
    },
    () => undefined,
  );
}

/** Two engines that are to agree. */
class Twins {
  readonly #programs: XdpHandle;
  readonly #withXdp: Handle;
  readonly #alone: Handle;
  readonly #inside = indexOf(INSIDE);
  readonly #address = Uint8Array.from(interfaceFile(INSIDE, "address").split(":"), (byte) =>
    parseInt(byte, 16),
  );
  readonly #out = new Uint8Array(4096);
  readonly #length = new Float64Array(1);

  constructor(
    classes: {
      readonly exempt: readonly ExemptClass[];
      readonly open?: SharedRates;
      readonly legacy?: readonly (SharedRates & { readonly prefix: IpPrefix })[];
    } = { exempt: [] },
    generic: 0 | 1 = 0,
  ) {
    const { exempt, open, legacy = [] } = classes;
    this.#programs = addon.xdpOpen({
      object: programsFile(),
      capacity: CAPACITY,
      refusals: 4,
      enforce: 1,
      open: open === undefined ? 0 : 1,
      exempts: encodeExempts(
        exempt,
        legacy.map(({ prefix }) => prefix),
      ),
      bounds: encodeBounds({ ...classes, interceptRate: INTERCEPT_RATE }),
    });
    this.#withXdp = openEngine(this.#programs);
    this.#alone = openEngine();
    addon.xdpListen(this.#programs, this.#withXdp);
    for (const name of [INSIDE, OUTSIDE]) {
      addon.xdpAttach(this.#programs, indexOf(name), generic, 0);
      addon.xdpAllowEgress(this.#programs, indexOf(name), EGRESS.native);
    }
    this.install(PERMITTED, 2 ** 40, 3_600_000);
    this.install(LIMITED, VOLUME, 3_600_000);
    this.install(EXPIRED, 2 ** 40, 0);
    this.install(AUTHENTICATED, 2 ** 40, 3_600_000, AUTHENTICATION);
  }

  install(
    flows: readonly Flow[],
    volume: number,
    lifetime: number,
    authentication?: NativeAuthentication,
  ): void {
    const keys = encodeFlows(flows);
    const values = Float64Array.from(flows.flatMap(() => [volume, lifetime, -1, 0, -1, 0]));
    for (const engine of [this.#withXdp, this.#alone])
      addon.permit(
        engine,
        keys,
        values,
        new Uint8Array(flows.length),
        authentication && flows.map(() => authentication),
      );
  }

  /** What the program does, and what came out where it sends. */
  xdp(
    packet: Uint8Array,
    tags = 0,
    padding = 0,
    hop: readonly number[] = HOP,
  ): { action: string; sent: Uint8Array } {
    const frame = this.#frame(packet, tags, padding);
    frame.set(hop, 6);
    const action = nameOf(addon.xdpTry(this.#inside, frame, this.#out, this.#length));
    return { action, sent: this.#out.slice(14, this.#length[0]) };
  }

  /** What the program for super-packets does with one of segments of so many bytes, and what of it is counted. */
  segments(packet: Uint8Array, flow: Flow, segment: number): object {
    const before = this.#counted(flow);
    const action = nameOf(addon.xdpTrySegments(this.#inside, this.#frame(packet, 0, 0), segment));
    const [bytes, packets] = this.#counted(flow).map((count, i) => count - (before[i] ?? 0));
    return { action, bytes, packets };
  }

  /** What that program does alone. */
  superPacket(packet: Uint8Array, segment: number): string {
    return nameOf(addon.xdpTrySegments(this.#inside, this.#frame(packet, 0, 0), segment));
  }

  /** Bytes and packets, by the engine with programs. */
  #counted(flow: Flow): number[] {
    const out = new Float64Array(READ_VALUES);
    addon.read(this.#withXdp, encodeFlows([flow]), out);
    return [...out.subarray(1, 3)];
  }

  #frame(packet: Uint8Array, tags: number, padding: number): Uint8Array {
    const frame = new Uint8Array(14 + 4 * tags + packet.length + padding);
    const type = (packet[0] ?? 0) >> 4 === 6 ? [0x86, 0xdd] : [8, 0];
    frame.set(this.#address);
    frame.set(HOP, 6);
    for (let i = 0; i < tags; i++) frame.set([0x81, 0, 0, 5], 12 + 4 * i);
    frame.set(type, 12 + 4 * tags);
    frame.set(packet, 14 + 4 * tags);
    return frame;
  }

  queue(packet: Uint8Array, padding = 0, offloaded: 0 | 1 = 0): string {
    return this.#probe(this.#alone, packet, padding, offloaded);
  }

  /** What the stack's queues say of a packet that the program left to it. */
  queueBehind(packet: Uint8Array, padding = 0, offloaded: 0 | 1 = 0): string {
    return this.#probe(this.#withXdp, packet, padding, offloaded);
  }

  #probe(engine: Handle, packet: Uint8Array, padding: number, offloaded: 0 | 1): string {
    const result = addon.probe(engine, packet, packet.length + padding, offloaded);
    const names: readonly (readonly [string, number])[] =
      result < 0 ? Object.entries(PROBLEM).map(([name, value]) => [name, -value]) : Object.entries(DECISION);
    return names.find(([, value]) => value === result)?.[0] ?? "none";
  }

  /** From now on it is counted where the flow's packets come in. */
  trace(flow: Flow): void {
    addon.trace(this.#withXdp, encodeFlows([flow]), TRACE_NUMBER);
  }

  /** Interface, and bytes by hardware address. */
  places(): object {
    const out = new Float64Array(PLACES_VALUES);
    addon.readPlaces(this.#withXdp, TRACE_NUMBER, out);
    const places = [0, 1].map((i) => [...out.subarray(i * PLACE_VALUES, (i + 1) * PLACE_VALUES)]);
    return places.map(([index, address = 0, counted]) => [
      index === this.#inside ? INSIDE : index,
      address.toString(16),
      counted,
    ]);
  }

  blockPlace(flow: Flow, address: readonly number[], duration: number): void {
    const bytes = Uint8Array.from(address);
    addon.xdpBlockPlace(this.#programs, encodeFlows([flow]), this.#inside, bytes, duration);
  }

  block(flow: Flow, duration: number): void {
    addon.xdpBlock(this.#programs, encodeFlows([flow]), duration);
  }

  /** Packets by what the programs did with them. */
  counters(): Record<string, number> {
    const out = new Float64Array(addon.xdpCounterNames.length);
    addon.xdpCounters(this.#programs, out);
    return Object.fromEntries(addon.xdpCounterNames.map((name, i) => [name, out[i] ?? 0]));
  }

  /** Bytes, packets, over volume and expired by both engines, of flows for which they differ. */
  differences(
    flows: readonly Flow[] = [...PERMITTED, ...LIMITED, ...EXPIRED, ...AUTHENTICATED],
  ): readonly object[] {
    return flows.flatMap((flow) => {
      const [a, b] = [this.#withXdp, this.#alone].map((engine) => {
        const out = new Float64Array(READ_VALUES);
        addon.read(engine, encodeFlows([flow]), out);
        return [...out.subarray(1, 5)];
      });
      return JSON.stringify(a) === JSON.stringify(b) ? [] : [{ flow: flowKey(flow), withXdp: a, alone: b }];
    });
  }

  close(): void {
    addon.xdpClose(this.#programs, 0);
    addon.close(this.#withXdp);
    addon.close(this.#alone);
    addon.xdpClose(this.#programs, 1);
    for (const name of [INSIDE, OUTSIDE]) addon.xdpDetach(indexOf(name));
  }
}

function nameOf(action: number): string {
  const [name = "none"] = Object.entries(XDP_ACTION).find(([, number]) => number === action) ?? [];
  return name === "pass" ? "stack" : name;
}

/** What becomes of super-packets, by what they are. */
function trySegments(): object {
  const twins = new Twins(
    { exempt: [{ name: "web", protocol: PROTOCOL.tcp, ports: [{ from: 81, to: 81 }], rate: 5 }] },
    1,
  );
  const flows = {
    IPv4: "tcp 10.1.0.1:4000 > 10.2.0.2:80",
    IPv6: "tcp [fd01::1]:4000 > [fd02::2]:80",
    limited: "tcp 10.1.0.1:4010 > 10.2.0.2:80",
    expired: "tcp 10.1.0.1:4011 > 10.2.0.2:80",
    protected: "tcp 10.1.0.1:4012 > 10.2.0.2:80",
    exempt: "tcp 10.1.0.1:4013 > 10.2.0.2:81",
    unknown: "tcp 10.1.0.1:4014 > 10.2.0.2:80",
    UDP: "udp 10.1.0.1:4000 > 10.2.0.2:80",
  };
  const flow = (name: keyof typeof flows) => parseFlow(flows[name]);
  twins.install([flow("limited")], 3000, 3_600_000);
  twins.install([flow("expired")], 2 ** 40, 0);
  twins.install([flow("protected")], 2 ** 40, 3_600_000, AUTHENTICATION);
  twins.install([flow("exempt")], 2 ** 40, 3_600_000);
  const tried = (name: keyof typeof flows, shape: Shape = {}, segment = 1200) =>
    twins.segments(datagram(flow(name), { payload: 3000, ...shape }), flow(name), segment);
  const result = {
    ...Object.fromEntries((Object.keys(flows) as (keyof typeof flows)[]).map((name) => [name, tried(name)])),
    wide: tried("IPv4", {}, 1300),
    one: tried("IPv4", {}, 0),
    syn: tried("IPv4", { flags: 2 }),
    options: tried("IPv4", { options: 4 }),
    lastHop: tried("IPv4", { ttl: 1 }),
  };
  twins.close();
  return result;
}

function judgeCase(twins: Twins, { name, packet, tags, padding }: VerdictCase): object {
  const { action, sent } = twins.xdp(packet, tags, padding);
  if (action === "stack") twins.queueBehind(packet, padding);
  return { name, queue: twins.queue(packet, padding), xdp: action, sent: [...sent] };
}

function judgeAll(): object {
  const twins = new Twins();
  const verdicts = VERDICTS.map((one) => judgeCase(twins, one));
  const differences = twins.differences();
  twins.close();
  return { verdicts, differences };
}

/** Many packets of each class that needs no permission: how many got to the stack. */
function floodClasses(): object {
  const twins = new Twins({
    exempt: [{ name: "dns", protocol: PROTOCOL.udp, ports: [{ from: 53, to: 53 }], rate: 5 }],
    open: { total: 10_000_000, source: 10_000 },
  });
  const passed = (flow: Flow, shape: Shape = {}): { count: number; seconds: number } => {
    const packet = datagram(flow, shape);
    const start = performance.now();
    const actions = Array.from({ length: FLOOD }, () => twins.xdp(packet).action);
    const seconds = (performance.now() - start) / 1000;
    return { count: actions.filter((action) => action === "stack").length, seconds };
  };
  const flow = (text: string) => parseFlow(text);
  const result = {
    signalling: passed(flow("udp 10.1.0.9:4000 > 10.2.0.2:270")),
    signallingOfAnother: passed(flow("udp 10.1.0.8:4000 > 10.2.0.2:270")),
    icmp: passed(flow("icmp 10.1.0.9 > 10.2.0.2"), { echo: 3 }),
    exempt: passed(flow("udp 10.1.0.9:4000 > 10.2.0.2:53")),
    open: passed(flow("udp 10.1.0.9:4000 > 10.2.0.2:99"), { payload: 1200 }),
    openOfAnother: passed(flow("udp [fd01::9]:4000 > [fd02::2]:99"), { payload: 1200 }),
    counters: twins.counters(),
  };
  twins.close();
  return result;
}

/** What becomes of packets without permission, with AH and without, where a class is for AH. */
function exemptAuthenticated(): object {
  const twins = new Twins({ exempt: [{ name: "ah", protocol: 51, rate: 5 }] });
  const flow = parseFlow("udp 10.1.0.9:4000 > 10.2.0.2:80");
  const actions = [authenticated(flow), datagram(flow)].map((packet) => twins.xdp(packet).action);
  twins.close();
  return actions;
}

/** What becomes of a permitted packet whose source is blocked, for some time, already no more, and not. */
function blockSource(): object {
  const twins = new Twins();
  const [flow] = PERMITTED;
  const actions = [3_600_000, 0.000001, 0].map((duration) => {
    twins.block(flow, duration);
    return twins.xdp(datagram(flow)).action;
  });
  const dropped = twins.counters()["drop.blocked"];
  twins.close();
  return { actions, dropped };
}

/** What becomes of packets where their flow is traced; at places that are blocked they are dropped, and those of no other flow. */
function tryPlaces(): object {
  const twins = new Twins();
  const [flow, other] = PERMITTED;
  const from = (hop: readonly number[], which: Flow = flow): string =>
    twins.xdp(datagram(which), 0, 0, hop).action;
  from(HOP);
  twins.trace(flow);
  const passed = [HOP, OTHER_HOP, HOP].map((hop) => from(hop));
  from(HOP, other);
  const counted = twins.places();
  twins.blockPlace(flow, OTHER_HOP, HOUR);
  const byAddress = [from(OTHER_HOP), from(HOP), from(OTHER_HOP, other)];
  twins.blockPlace(flow, OTHER_HOP, 0);
  const again = from(OTHER_HOP);
  twins.blockPlace(flow, ANY_HOP, HOUR);
  const byInterface = [from(OTHER_HOP), from(HOP), from(HOP, other)];
  twins.blockPlace(flow, ANY_HOP, 0.000001);
  const over = from(HOP);
  const dropped = twins.counters()["drop.off-path"];
  twins.close();
  return { passed, counted, byAddress, again, byInterface, over, dropped };
}

/** How many packets pass of hosts of two networks, when those of the first have used up what they may have. */
function floodLegacy(): object {
  const rates = { total: 100_000, source: 50_000 };
  const twins = new Twins({
    exempt: [],
    legacy: ["10.1.0.0/28", "10.1.0.16/28"].map((prefix) => ({ ...rates, prefix: IpPrefix.parse(prefix) })),
  });
  const passed = (host: number): number => {
    const packet = datagram(parseFlow(`udp 10.1.0.${host}:4000 > 10.2.0.2:99`), { payload: 972 });
    return Array.from({ length: FLOOD }, () => twins.xdp(packet).action).filter((one) => one === "stack")
      .length;
  };
  const result = { first: [1, 2, 3, 4].map(passed), second: passed(17), strange: passed(40) };
  twins.close();
  return result;
}

/** Numbers below a bound, the same for the same seed (xorshift). */
function generator(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A packet of a known flow or a stranger to them, with some of its bytes changed. */
function anyPacket(pick: (below: number) => number): Uint8Array {
  const known = [...PERMITTED, ...LIMITED, ...EXPIRED, ...AUTHENTICATED];
  const flow = known[pick(known.length)] ?? PERMITTED[0];
  const packet = pick(4) === 0 ? authenticated(flow, SPI + pick(2)) : anyShape(flow, pick);
  if (pick(2) === 0) for (let i = pick(5); i >= 0; i--) packet[pick(packet.length)] = pick(256);
  return pick(10) === 0 ? packet.subarray(0, Math.max(1, pick(packet.length))) : packet;
}

function anyShape(flow: Flow, pick: (below: number) => number): Uint8Array {
  return datagram(flow, {
    payload: pick(40),
    ttl: pick(20) === 0 ? pick(3) : 64,
    options: pick(6) === 0 ? 4 * pick(11) : 0,
    extensions: pick(4) === 0 ? Array.from({ length: pick(10) }, () => 8 * (1 + pick(3))) : [],
    flags: pick(10) === 0 ? pick(256) : 0x10,
  });
}

/** Packets about which the two engines do not agree, and how often the program decided by itself. */
function fuzz({ rounds, seed }: Command): object {
  const twins = new Twins();
  const pick = generator(seed);
  const disagreed: object[] = [];
  const actions: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    const packet = anyPacket(pick);
    const { action } = twins.xdp(packet);
    actions[action] = (actions[action] ?? 0) + 1;
    const together = action === "stack" ? twins.queueBehind(packet) : action;
    const alone = twins.queue(packet);
    const passes = together === "send" || together === "accept";
    if (passes !== (alone === "accept"))
      disagreed.push({ packet: Buffer.from(packet).toString("hex"), together, alone });
  }
  const differences = twins.differences();
  twins.close();
  return { disagreed: disagreed.slice(0, 10), actions, differences };
}

/** Length of the segments that the flows' senders announced, by both engines' knowledge. */
const SEGMENT = 500;
const MSS_OPTION = [2, 4, SEGMENT >> 8, SEGMENT & 0xff];

/** A SYN that says so: 4 bytes of TCP options. */
function announcement(flow: Flow): Uint8Array {
  const packet = datagram(flow, { flags: 2, payload: MSS_OPTION.length });
  const at = packet.length - MSS_OPTION.length;
  packet[at - 8] = 0x60;
  packet.set(MSS_OPTION, at);
  return packet;
}

/** TCP options are taken out of what was announced (RFC 6691). */
function segmentOf(packet: Uint8Array): number {
  const offset = packet[((packet[0] ?? 0) >> 4 === 4 ? 20 : 40) + 12] ?? 0;
  return Math.max(1, SEGMENT - ((offset >> 4) * 4 - 20));
}

/** As {@link fuzz}, of super-packets by the program for them. */
function fuzzSegments({ rounds, seed }: Command): object {
  const twins = new Twins({ exempt: [] }, 1);
  const pick = generator(seed);
  const texts = [
    "10.1.0.1:4000 > 10.2.0.2:80",
    "[fd01::1]:4000 > [fd02::2]:80",
    "10.1.0.1:4020 > 10.2.0.2:80",
  ];
  const [ended, unknown] = [
    parseFlow("tcp 10.1.0.1:4021 > 10.2.0.2:80"),
    parseFlow("tcp 10.1.0.1:4022 > 10.2.0.2:80"),
  ];
  const flows = texts.map((text) => parseFlow(`tcp ${text}`));
  twins.install(flows.slice(2), SOME_VOLUME, HOUR);
  twins.install([ended], 2 ** 40, 0);
  for (const flow of flows) {
    twins.queue(announcement(flow));
    twins.queueBehind(announcement(flow));
  }
  const disagreed: object[] = [];
  const actions: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    const flow = [...flows, ended, unknown][pick(5)] ?? ended;
    const packet = datagram(flow, { payload: 1 + pick(3000), flags: pick(10) === 0 ? pick(256) & ~2 : 0x10 });
    if (pick(3) === 0) packet[pick(60)] = pick(256);
    const action = twins.superPacket(packet, segmentOf(packet));
    actions[action] = (actions[action] ?? 0) + 1;
    const together = action === "stack" ? twins.queueBehind(packet, 0, 1) : action;
    const alone = twins.queue(packet, 0, 1);
    if ((together === "send" || together === "accept") !== (alone === "accept"))
      disagreed.push({ packet: Buffer.from(packet.subarray(0, 80)).toString("hex"), together, alone });
  }
  const differences = twins.differences([...flows, ended]);
  twins.close();
  return { disagreed: disagreed.slice(0, 10), actions, differences };
}

let datapath: XdpDatapath | undefined;
let firewall: Firewall | undefined;
const events: object[] = [];

function engine(): XdpDatapath {
  if (datapath === undefined) throw new Error("there is no engine here");
  return datapath;
}

async function start({ options }: Command): Promise<boolean> {
  firewall = await Firewall.probe({
    queueBase: QUEUE_BASE,
    tlsPort: 5270,
    tcpPort: null,
    refuseMark: REFUSE_MARK,
    backend: "auto",
    exempt: [],
    interceptRate: 1000,
    setSize: 4096,
    reserve: 0,
    reassemble: false,
  });
  await firewall.install();
  datapath = XdpDatapath.open({
    queueBase: QUEUE_BASE,
    capacity: CAPACITY,
    holdPacketsPerFlow: 8,
    holdPackets: 64,
    holdTime: seconds(30),
    refuseMark: REFUSE_MARK,
    enforce: true,
    logger: silentLogger,
    exempt: [],
    interceptRate: 1000,
    ...options,
  });
  datapath.listen((batch) => events.push(...batch.map((event) => ({ ...event, flow: flowKey(event.flow) }))));
  await datapath.refillSets();
  return datapath.adopted;
}

async function perform(command: Command): Promise<unknown> {
  switch (command.do) {
    case "judge":
      return judgeAll();
    case "fuzz":
      return fuzz(command);
    case "fuzzSegments":
      return fuzzSegments(command);
    case "classes":
      return floodClasses();
    case "exemptAuthenticated":
      return exemptAuthenticated();
    case "segments":
      return trySegments();
    case "block":
      return blockSource();
    case "places":
      return tryPlaces();
    case "legacy":
      return floodLegacy();
    case "start":
      return start(command);
    case "install":
      return engine().install(
        command.flows.map((flow) => ({
          flow: parseFlow(flow),
          allowedVolume: bytes(command.volume),
          lifetime: ms(600_000),
        })),
      );
    case "protect":
      return engine().install(
        command.flows.map((flow) => ({
          flow: parseFlow(flow),
          allowedVolume: bytes(command.volume),
          lifetime: ms(600_000),
          authentication: {
            action: "verify",
            association: { spi: SPI, algorithm: "hmac-sha256-128", key: KEY },
            overlap: { duration: ms(0), bytes: bytes(0) },
          },
        })),
      );
    case "remove":
      return engine().remove(command.flows.map(parseFlow));
    case "read":
      return engine().read(command.flows.map(parseFlow));
    case "status":
      return engine().status();
    case "events":
      return events.splice(0);
    case "stop":
      return engine().stop();
    case "clean":
      await firewall?.remove();
      return XdpDatapath.detach();
    default:
      throw new Error(`there is no command ${command.do}`);
  }
}

await answerCommands<Command>(perform);
await datapath?.stop();
process.exit(0);
