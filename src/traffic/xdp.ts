/**
 * The engine of a router whose kernel and interfaces allow it: XDP programs forward and drop before the stack sees a
 * packet. What they leave to the stack, and this host's own traffic, is the nfqueue engine's. Both judge by one table,
 * so a flow has one count and one cap, whoever lets a packet through; a packet is counted where it is sent or dropped.
 *
 * The programs stay on the interfaces when this process ends: permitted plain flows go on within their volume and time,
 * and the next process goes on with their counts.
 */
import { release } from "node:os";
import type { IpAddress, IpPrefix } from "../base/address.js";
import { type Flow, flowKey, PROTOCOL } from "../base/flow.js";
import { SystemTime, type Time, type Timer } from "../base/time.js";
import { type Bytes, type Milliseconds, ms, seconds } from "../base/units.js";
import type {
  Datapath,
  DatapathEvent,
  DatapathStatus,
  FlowCount,
  FlowPlace,
  Installation,
  InterfaceEngine,
  PlaceCount,
} from "./datapath.js";
import type { ExemptClass, SharedRates } from "./firewall-rules.js";
import { encodeFlows, type Native, native, type NativeAuthentication, programsFile } from "./native.js";
import type { LinkWatch, XdpHandle } from "./native-handles.js";
import { NfqueueDatapath, type NfqueueOptions, REFUSALS } from "./nfqueue.js";
import { encodeBounds } from "./xdp-bounds.js";
import { encodeExempts } from "./xdp-exempt.js";
import { type Candidate, readInterfaces } from "./xdp-interfaces.js";
import { EGRESS, EXEMPT_BYTES, MAX_EXEMPTS, XDP_FEATURE } from "./xdp-native.js";

export interface XdpOptions extends NfqueueOptions {
  /** The same as the firewall's: what matches is left to its rules. */
  readonly exempt: readonly ExemptClass[];
  readonly interceptRate: number;
  /** Of an open network: rates of all that may pass without permission, together. Needs `openMark`. */
  readonly open?: SharedRates;
  /** Of a closed one: hosts that need no permission. Needs `openMark`. */
  readonly legacy?: readonly LegacyHosts[];
  /** Interfaces for the programs; absent: all that forward. */
  readonly interfaces?: readonly string[];
  /**
   * On virtual interfaces (veth): generic programs, which take packets as the stack has them, or native ones, which are
   * faster but send on checksums that the other end left to be filled in.
   */
  readonly virtual?: XdpMode;
  /** Real-time priority of the kernel's threads that receive for interfaces with programs; 0 or absent: as they are. */
  readonly receivePriority?: number;
}

interface LegacyHosts extends SharedRates {
  readonly prefix: IpPrefix;
}

export type XdpMode = "native" | "generic";

export interface XdpStatus extends DatapathStatus {
  readonly interfaces: readonly InterfaceEngine[];
}

/** Why there are no XDP programs; `code` is the addon's. */
export class XdpError extends Error {
  override readonly name = "XdpError";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** How often permissions of an earlier process are looked over. */
const ADOPTED_PERIOD = seconds(60);

/** Changes of links, of how they queue, and of their settings (IPv4 and IPv6): groups of rtnetlink. */
const LINK_GROUPS = Uint32Array.of(1, 4, 24, 25);
const FOLLOW_DELAY = ms(50);

/** Queueing disciplines that interfaces have by themselves, or that shape nothing; empty: the kernel does not say. */
const PLAIN_QUEUEING: ReadonlySet<string> = new Set([
  "",
  "noop",
  "noqueue",
  "pfifo_fast",
  "pfifo",
  "bfifo",
  "fq",
  "fq_codel",
  "mq",
]);

/** Of a last hop: any. */
const NO_ADDRESS = "00:00:00:00:00:00";

interface Port extends Candidate {
  /** Kind of the queueing discipline that is to have all that is sent. */
  readonly shaped?: string;
}

/** An interface, and all that its program was made with. */
interface Attached {
  readonly made: string;
  readonly engine: InterfaceEngine;
  /** Before packets with AH were asked for. */
  readonly found: InterfaceEngine;
}

const NATIVE = 0;
const GENERIC = 1;

const REASONS: Readonly<Record<string, string>> = {
  EBUSY: "another XDP program is attached to it",
  EPERM: "XDP programs need root, or CAP_SYS_ADMIN and CAP_NET_ADMIN (as a service: pbsd-xdp.conf)",
  EADDRINUSE: "another process in this network namespace has the XDP programs",
  ENOSYS:
    "the XDP engine was not built; install libbpf-dev (1.0 or newer) and clang, then build it with: npm run build:native",
  EAFNOSUPPORT: "the kernel has no AF_XDP (CONFIG_XDP_SOCKETS)",
  ENOENT: "the compiled XDP programs are missing; build them with: npm run build:native",
};

export class XdpDatapath implements Datapath {
  readonly engine = "xdp";
  /** Whether permissions of an earlier process are in force. */
  readonly adopted: boolean;
  readonly #native: Native;
  readonly #programs: XdpHandle;
  readonly #queues: NfqueueDatapath;
  readonly #options: XdpOptions;
  /** By index; those that are gone are not among them. */
  #attached = new Map<number, Attached>();
  #unfit: readonly InterfaceEngine[] = [];
  readonly #watch: LinkWatch;
  #followTimer: Timer | undefined;
  readonly #time: Time;
  readonly #unblockTimers = new Map<string, Timer>();
  /** Index of the interface of each place that is blocked. */
  readonly #shutPlaces = new Map<string, number>();
  #dropTimer: Timer | undefined;
  #stopped = false;

  private constructor(options: XdpOptions) {
    this.#native = native();
    this.#options = options;
    this.#time = options.time ?? new SystemTime();
    this.#programs = openPrograms(this.#native, options);
    try {
      this.#queues = NfqueueDatapath.open({ ...options, xdp: this.#programs });
    } catch (error) {
      this.#native.xdpClose(this.#programs, 1);
      throw error;
    }
    try {
      this.adopted = this.#queues.listenTo(this.#programs);
      this.#follow();
      this.#watch = this.#native.watchRoutes(LINK_GROUPS, () => this.#followSoon());
    } catch (error) {
      this.#end();
      throw translate(error);
    }
    if (this.adopted) this.#dropLater();
  }

  /** Throws {@link XdpError} when the kernel does not take the programs; needs privileges, and changes nothing. */
  static probe(): void {
    try {
      native().xdpProbe(programsFile());
    } catch (error) {
      throw refused(translate(error));
    }
  }

  /** Throws {@link XdpError} when there can be no AF_XDP sockets. */
  static probeSockets(): void {
    try {
      native().xskProbe();
    } catch (error) {
      throw translate(error);
    }
  }

  /** Throws {@link XdpError} when there can be no programs on this machine, NfqueueError as the engine below does. */
  static open(options: XdpOptions): XdpDatapath {
    return new XdpDatapath(options);
  }

  /** Takes the programs off all interfaces of this network namespace, whoever put them there for PBS. */
  static detach(): readonly string[] {
    const addon = native();
    const { candidates, unfit } = readInterfaces();
    return [...candidates, ...unfit].filter(({ index }) => addon.xdpDetach(index)).map(({ name }) => name);
  }

  install(permissions: readonly Installation[]): Promise<void> {
    return this.#queues.install(permissions);
  }

  /** As {@link NfqueueDatapath.installEncoded}. */
  installEncoded(
    keys: Uint8Array,
    values: Float64Array,
    authentications?: readonly (NativeAuthentication | undefined)[],
  ): Promise<void> {
    return this.#queues.installEncoded(keys, values, authentications);
  }

  remove(flows: readonly Flow[]): Promise<void> {
    return this.#queues.remove(flows);
  }

  /** {@link remove} of flows that are encoded already. */
  removeEncoded(keys: Uint8Array): Promise<void> {
    return this.#queues.removeEncoded(keys);
  }

  refuse(flow: Flow, duration: Milliseconds): void {
    this.#queues.refuse(flow, duration);
  }

  letGo(flow: Flow, duration: Milliseconds): void {
    this.#queues.letGo(flow, duration);
  }

  steer(flow: Flow, path: number): void {
    this.#queues.steer(flow, path);
  }

  read(flows: readonly Flow[]): (FlowCount | undefined)[] {
    return this.#queues.read(flows);
  }

  countUpTo(flow: Flow, spi: number, sequence: number): Bytes | undefined {
    return this.#queues.countUpTo(flow, spi, sequence);
  }

  /** As SourceBlocker has it, for what does not come to its rule. */
  block(source: IpAddress, duration: Milliseconds): void {
    this.#native.xdpBlock(this.#programs, sourceKey(source), duration);
    this.#unblockLater(source, duration);
  }

  unblock(source: IpAddress): void {
    this.#unblockTimers.get(source.toString())?.cancel();
    this.#unblockTimers.delete(source.toString());
    if (!this.#stopped) this.#native.xdpBlock(this.#programs, sourceKey(source), 0);
  }

  trace(flow: Flow, on: boolean): boolean {
    return this.#queues.trace(flow, on);
  }

  places(flow: Flow): readonly PlaceCount[] {
    return this.#queues.places(flow);
  }

  /** As PlaceBlocker has it, for what does not come to its rules. Throws {@link XdpError}. */
  blockPlace(place: FlowPlace, duration: Milliseconds): void {
    const [index] = [...this.#attached].find(([, { engine }]) => engine.name === place.interface) ?? [];
    if (index === undefined) return;
    this.#setPlace(index, place, duration);
    this.#shutPlaces.set(placeKey(place), index);
  }

  unblockPlace(place: FlowPlace): void {
    // By its number: the interface may have another name now.
    const index = this.#shutPlaces.get(placeKey(place));
    if (index === undefined || this.#stopped) return;
    this.#setPlace(index, place, 0);
    this.#shutPlaces.delete(placeKey(place));
  }

  listen(listener: (events: readonly DatapathEvent[]) => void): void {
    this.#queues.listen(listener);
  }

  refillSets(): Promise<void> {
    return this.#queues.refillSets();
  }

  status(): XdpStatus {
    const below = this.#queues.status();
    return {
      ...below,
      engine: this.engine,
      counters: this.#addCounters(below.counters),
      interfaces: [...[...this.#attached.values()].map(({ engine }) => engine), ...this.#unfit],
    };
  }

  /** Ends this process's part. The programs go on by what the table says now. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#dropTimer?.cancel();
    this.#followTimer?.cancel();
    this.#native.unwatchRoutes(this.#watch);
    for (const timer of this.#unblockTimers.values()) timer.cancel();
    this.#end();
  }

  /** The table that the queues work with goes last. */
  #end(): void {
    this.#native.xdpClose(this.#programs, 0);
    void this.#queues.stop();
    this.#native.xdpClose(this.#programs, 1);
  }

  #setPlace(index: number, { flow, address = NO_ADDRESS }: FlowPlace, duration: number): void {
    const from = Uint8Array.from(address.split(":"), (byte) => Number.parseInt(byte, 16));
    try {
      this.#native.xdpBlockPlace(this.#programs, encodeFlows([flow]), index, from, duration);
    } catch (error) {
      throw translate(error);
    }
  }

  /** While a source is blocked, every packet costs a look for its own. */
  #unblockLater(source: IpAddress, duration: Milliseconds): void {
    const name = source.toString();
    this.#unblockTimers.get(name)?.cancel();
    this.#unblockTimers.set(
      name,
      this.#time.after(duration, () => this.unblock(source)),
    );
  }

  /** No session looks after permissions that were found in the table, unless it installs them again. */
  #dropLater(): void {
    this.#dropTimer = this.#time.after(ADOPTED_PERIOD, () => {
      this.#queues.dropAdopted().then(
        (left) => {
          if (left > 0 && !this.#stopped) this.#dropLater();
        },
        (error: unknown) => this.#options.logger.error({ error }, "ended permissions cannot be taken out"),
      );
    });
  }

  #addCounters(counters: Readonly<Record<string, number>>): Record<string, number> {
    const names = this.#native.xdpCounterNames;
    const out = new Float64Array(names.length);
    this.#native.xdpCounters(this.#programs, out);
    const sums = { ...counters };
    names.forEach((name, i) => (sums[name] = (sums[name] ?? 0) + (out[i] ?? 0)));
    return sums;
  }

  /** A change of one link is told in several messages. */
  #followSoon(): void {
    this.#followTimer ??= this.#time.after(FOLLOW_DELAY, () => {
      this.#followTimer = undefined;
      if (this.#stopped) return;
      try {
        this.#follow();
      } catch (error) {
        this.#options.logger.error({ error }, "changes of the interfaces cannot be followed");
      }
    });
  }

  /** Programs onto what has become fit for one, off what is fit no longer, and anew where what they were made with has changed. */
  #follow(): void {
    const { candidates, unfit } = readInterfaces();
    const { interfaces } = this.#options;
    const isWanted = ({ name }: Candidate) => interfaces?.includes(name) ?? true;
    const before = this.#attached;
    const wanted = candidates.filter(isWanted).map((candidate): Port => {
      const shaped = this.#shapedBy(candidate.index);
      return shaped === undefined ? candidate : { ...candidate, shaped };
    });
    const others = [...unfit, ...candidates.filter((candidate) => !isWanted(candidate))];
    for (const { index } of others) this.#allowEgress(index, this.#shapedBy(index), false);
    // First, as sockets of interfaces that are gone cannot share their memory with others.
    for (const index of before.keys())
      if (!wanted.some((candidate) => candidate.index === index)) this.#leave(index);
    this.#attached = new Map(wanted.map((candidate) => [candidate.index, this.#take(candidate, before)]));
    for (const [index, { engine }] of this.#attached)
      if (engine.engine !== "nfqueue") this.#receiveFirst(index, engine.name);
    this.#unfit = [
      ...candidates
        .filter((candidate) => !isWanted(candidate))
        .map(({ name }) => byQueues(name, "the configuration leaves it out")),
      ...unfit.map(({ name, reason }) => byQueues(name, reason)),
    ];
  }

  /** The kernel makes these threads anew when offloads are changed, which is told as a change of the link. */
  #receiveFirst(index: number, name: string): void {
    const { receivePriority: priority = 0, logger } = this.#options;
    if (priority === 0) return;
    try {
      const threads = this.#native.raiseReceiveThreads(index, priority);
      if (threads > 0) logger.debug({ interface: name, threads, priority }, "receive threads come first");
      else
        logger.warn({ interface: name }, "it has no receive threads of its own, or they are not seen here");
    } catch (error) {
      logger.warn({ error, interface: name }, "receive threads keep their priority");
    }
  }

  #shapedBy(index: number): string | undefined {
    const kind = this.#native.linkQueueing(index);
    return PLAIN_QUEUEING.has(kind) ? undefined : kind;
  }

  #take(candidate: Port, before: ReadonlyMap<number, Attached>): Attached {
    const made = JSON.stringify(candidate);
    const known = before.get(candidate.index);
    if (known?.made === made)
      return { ...known, engine: this.#withTransmits(candidate, this.#askedAgain(candidate, known)) };
    const found = this.#engineOf(candidate);
    const engine = this.#withAuthentication(candidate, found);
    const { name, engine: which, reason } = engine;
    this.#options.logger.info({ interface: name, engine: which, reason }, "packet engine of an interface");
    return { made, engine, found };
  }

  /** A receive queue may be another's for a while: that of a process that has just ended, for one. */
  #askedAgain(candidate: Port, { engine, found }: Attached): InterfaceEngine {
    return engine.authenticates === "nfqueue" ? this.#withAuthentication(candidate, found) : engine;
  }

  /** What a virtual interface can do depends on its other end. */
  #withTransmits({ index, shaped }: Port, engine: InterfaceEngine): InterfaceEngine {
    const transmits = this.#allowEgress(index, shaped);
    return engine.engine === "nfqueue" ? engine : { ...engine, transmits };
  }

  /** An interface that is gone took its program along. */
  #leave(index: number): void {
    this.#native.xdpAllowEgress(this.#programs, index, EGRESS.generic);
    this.#native.xdpLeave(this.#programs, index);
    try {
      this.#native.xdpDetach(index);
    } catch (error) {
      this.#options.logger.debug({ error }, "an interface is gone");
    }
  }

  #engineOf(candidate: Port): InterfaceEngine {
    const { name, index, virtual, shaped } = candidate;
    if (virtual && this.#options.virtual !== "native")
      return this.#genericOf(
        candidate,
        "the other end of a virtual link may leave checksums to be filled in",
      );
    const problem = this.#tryAttach(candidate, NATIVE);
    if (problem instanceof XdpError)
      return problem.code === "EBUSY"
        ? byQueues(name, problem.message)
        : this.#genericOf(candidate, problem.message);
    const transmits = this.#allowEgress(index, shaped);
    const reason =
      shaped === undefined
        ? "its driver takes no frames from XDP, so the stack sends there"
        : whyByStack(shaped);
    return { name, engine: "xdp", transmits, authenticates: "nfqueue", ...(transmits ? {} : { reason }) };
  }

  /** Packets with AH go past the stack too, where a socket can be had. */
  #withAuthentication({ index, shaped }: Port, found: InterfaceEngine): InterfaceEngine {
    if (found.engine === "nfqueue") return found;
    if (shaped !== undefined) {
      this.#native.xdpLeave(this.#programs, index);
      return found;
    }
    try {
      this.#queues.serve(this.#programs, index);
      return { ...found, authenticates: "af_xdp" };
    } catch (error) {
      const why = `AH is verified behind the stack: ${error instanceof Error ? error.message : String(error)}`;
      const reason = found.reason === undefined ? why : `${found.reason}; ${why}`;
      return { ...found, authenticates: "nfqueue", reason };
    }
  }

  #genericOf(candidate: Port, why: string): InterfaceEngine {
    const takesSegments = this.#tryAttach(candidate, GENERIC);
    if (takesSegments instanceof XdpError) return byQueues(candidate.name, takesSegments.message);
    const { name, index, shaped } = candidate;
    const reasons = [
      why,
      ...(takesSegments ? [] : ["TCP's super-packets go by the queues (Linux 6.6 is needed)"]),
      ...(shaped === undefined ? [] : [whyByStack(shaped)]),
    ];
    return {
      name,
      engine: "xdp-generic",
      transmits: this.#allowEgress(index, shaped),
      authenticates: "nfqueue",
      reason: reasons.join("; "),
    };
  }

  /** Whether super-packets are taken, too, or why there is no program. */
  #tryAttach({ index, checkSource }: Candidate, generic: typeof NATIVE | typeof GENERIC): XdpError | boolean {
    try {
      return this.#native.xdpAttach(this.#programs, index, generic, checkSource);
    } catch (error) {
      return translate(error);
    }
  }

  /** @param native unless native programs are not to send there, whatever its driver can. Returns whether they do */
  #allowEgress(index: number, shaped: string | undefined, native = true): boolean {
    const features = native && shaped === undefined ? this.#native.xdpFeatures(index) : 0;
    const transmits = features > 0 && (features & XDP_FEATURE.transmit) !== 0;
    const otherwise = shaped === undefined ? EGRESS.generic : EGRESS.stack;
    this.#native.xdpAllowEgress(this.#programs, index, transmits ? EGRESS.native : otherwise);
    return transmits;
  }
}

function byQueues(name: string, reason: string): InterfaceEngine {
  return { name, engine: "nfqueue", transmits: false, authenticates: "nfqueue", reason };
}

function whyByStack(shaped: string): string {
  return `its queueing discipline (${shaped}) is to have all that is sent, so the stack sends there`;
}

/** Of a flow that has this source. */
function sourceKey(source: IpAddress): Uint8Array {
  const none = { protocol: PROTOCOL.udp, sourcePort: 0, destinationPort: 0 };
  return encodeFlows([{ ...none, source, destination: source }]);
}

function placeKey({ flow, interface: name, address = NO_ADDRESS }: FlowPlace): string {
  return `${flowKey(flow)} ${name} ${address}`;
}

function openPrograms(addon: Native, options: XdpOptions): XdpHandle {
  const { capacity, enforce, exempt, open, legacy = [] } = options;
  const exempts = encodeExempts(
    exempt,
    legacy.map(({ prefix }) => prefix),
  );
  if (exempts.length > MAX_EXEMPTS * EXEMPT_BYTES)
    throw new XdpError(
      "E2BIG",
      `the exempt classes and hosts make ${exempts.length / EXEMPT_BYTES} patterns, and XDP programs can have ${MAX_EXEMPTS}`,
    );
  try {
    return addon.xdpOpen({
      object: programsFile(),
      capacity,
      refusals: REFUSALS,
      enforce: enforce ? 1 : 0,
      open: open === undefined ? 0 : 1,
      bounds: encodeBounds(options),
      exempts,
    });
  } catch (error) {
    throw translate(error);
  }
}

/** Of loading: by kernels that lack what the programs use, or whose verifier knows less. */
function refused(error: XdpError): XdpError {
  if (!["EINVAL", "EACCES"].includes(error.code)) return error;
  const needed = `Linux 5.12 or newer is needed, and this is ${release()}`;
  return new XdpError(error.code, `the kernel does not take the XDP programs (${needed})`);
}

function translate(error: unknown): XdpError {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return new XdpError(code, REASONS[code] ?? message);
}
