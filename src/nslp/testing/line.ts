/**
 * A line of PBS nodes in memory, under a fake clock: sender, router, receiver, joined by a GistService that hands each
 * message to the next node at once and can lose, change or repeat it. Signatures and certificates are real.
 */
import { createHook } from "node:async_hooks";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Decision, Policy } from "../../authorization/decision.js";
import { issueCertificate, loadIdentity, makeAuthority, makeHostKey } from "../../authorization/keys.js";
import { Signer, verifySignature } from "../../authorization/signing.js";
import { Trust } from "../../authorization/trust.js";
import { IpAddress } from "../../base/address.js";
import { type Flow, flowKey, parseFlow } from "../../base/flow.js";
import { silentLogger } from "../../base/log.js";
import { seededRandom } from "../../base/random.js";
import { FakeTime } from "../../base/time.js";
import { type Bytes, bytes, type Milliseconds, ms, seconds } from "../../base/units.js";
import type { GistService, Nslp, ReceivedMessage, SendMessage } from "../../gist/service.js";
import type {
  Authentication,
  AuthenticationCount,
  Datapath,
  DatapathEvent,
  DatapathStatus,
  FlowCount,
  Installation,
  PlaceCount,
} from "../../traffic/datapath.js";
import { PbsNode } from "../node.js";
import type { ConnectionEnder, PathChanger, PlaceBlock, PlaceBlocker, SourceBlocker } from "../reactors.js";
import type { PbsOptions } from "../options.js";
import type { FlowView, PbsEvent } from "../view.js";

export const ADDRESSES = {
  sender: "192.168.20.1",
  router: "192.168.20.3",
  receiver: "192.168.21.4",
} as const;
export type Place = keyof typeof ADDRESSES;
/** Another of the sender's. */
export const OTHER_ADDRESS = "192.168.30.1";
/** In the order of the path. */
export const EVERYWHERE: readonly Place[] = ["sender", "router", "receiver"];

export const FLOW = parseFlow(`tcp ${ADDRESSES.sender}:4000 > ${ADDRESSES.receiver}:80`);

/**
 * Signatures that the thread pool is checking. Tests wait for these and not for a number of turns of the event loop, which
 * on a busy machine are over before the signatures are.
 */
const verifying = new Set<number>();
let signing = false;

const hook = createHook({
  init: (id, type) => {
    if (type === "SIGNREQUEST" && !signing) verifying.add(id);
  },
  after: (id) => {
    verifying.delete(id);
  },
});

/** Signs at once, so that nothing of it is under way. */
class QuietSigner extends Signer {
  override signSync(input: Uint8Array): Uint8Array {
    signing = true;
    try {
      return super.signSync(input);
    } finally {
      signing = false;
    }
  }
}

/** Turns of the event loop without a signature under way after which nothing more will happen by itself. */
const QUIET_TURNS = 50;

/** Keys are slow to make, so all tests of a process share them. */
export interface Credentials {
  readonly trust: () => Trust;
  readonly signers: Readonly<
    Record<Place | "stranger" | "double" | "understudy" | "edwards" | "renewed", Signer>
  >;
}

export function makeCredentials(): Credentials {
  const directory = mkdtempSync(join(tmpdir(), "pbs-line-"));
  try {
    const now = Date.UTC(2025, 11, 1);
    const authority = join(directory, "ca");
    makeAuthority({ directory: authority, name: "Test", now });
    const outside = join(directory, "other");
    makeAuthority({ directory: outside, name: "Other", now });
    const issued = (name: string, keyOf: string, by: string): Signer => {
      const certificateFile = join(directory, `${name}.crt`);
      const [csrFile, keyFile] = [join(directory, `${keyOf}.csr`), join(directory, `${keyOf}.key`)];
      issueCertificate({ authorityDirectory: by, csrFile, outFile: certificateFile, days: 365, now });
      const identity = loadIdentity({ certificateFile, keyFile, authorityFiles: [join(by, "ca.pem")] });
      return new QuietSigner(identity.privateKey, identity.certificateDer);
    };
    const signer = (name: string, address: string, by: string, type: "p256" | "ed25519" = "p256"): Signer => {
      makeHostKey({
        prefix: join(directory, name),
        commonName: name,
        addresses: [address, ...(name === "sender" ? [OTHER_ADDRESS] : [])].map((one) =>
          IpAddress.parse(one),
        ),
        type,
      });
      return issued(name, name, by);
    };
    const signers = {
      sender: signer("sender", ADDRESSES.sender, authority),
      router: signer("router", ADDRESSES.router, authority),
      receiver: signer("receiver", ADDRESSES.receiver, authority),
      stranger: signer("stranger", ADDRESSES.sender, outside),
      /** Another host that the authority gave a certificate for the sender's address. */
      double: signer("double", ADDRESSES.sender, authority),
      /** The same for the receiver's address. */
      understudy: signer("understudy", ADDRESSES.receiver, authority),
      /** The sender, with a key of another kind. */
      edwards: signer("edwards", ADDRESSES.sender, authority, "ed25519"),
      /** The sender's key with another certificate. */
      renewed: issued("renewed", "sender", authority),
    };
    // From here on: making certificates signs, too.
    hook.enable();
    const { authoritiesPem } = loadIdentity({
      certificateFile: join(directory, "sender.crt"),
      keyFile: join(directory, "sender.key"),
      authorityFiles: [join(authority, "ca.pem")],
    });
    return { trust: () => new Trust(authoritiesPem), signers };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

interface Entry {
  /** The last one; its key is a copy, as the packet path keeps one of its own. */
  installation: Installation;
  count: number;
  until: number;
  /** Sequence number under the association. */
  sequence: number;
  /** Of packets that passed under the association: the last one's number, and the bytes up to it. */
  marks: { readonly sequence: number; readonly bytes: number }[];
  failures: number;
  /** While it is traced. */
  places: Map<string, PlaceCount> | undefined;
}

/** Where the flow's own packets come in, unless a test says something else. */
export const HERE = { interface: "eth0", address: "02:00:00:00:00:01" };

/** What {@link FakeDatapath.pass} makes packets of. */
const PACKET = 1000;

/** The packet path as far as PBS sees it; tests pass traffic by hand. */
export class FakeDatapath implements Datapath {
  readonly engine = "fake";
  readonly entries = new Map<string, Entry>();
  /** Each association that took another's place, in order; undefined: none from then on. */
  readonly associations: { readonly at: number; readonly authentication?: Authentication }[] = [];
  readonly refused: { flow: string; duration: Milliseconds }[] = [];
  capacity = 1000;
  /** Packets have sequence numbers, and bytes are counted by them. */
  numbers = false;
  /** Installations wait for it. */
  gate: Promise<void> = Promise.resolve();
  #listener: ((events: readonly DatapathEvent[]) => void) | undefined;

  readonly #time: FakeTime;

  constructor(time: FakeTime) {
    this.#time = time;
  }

  async install(permissions: readonly Installation[]): Promise<void> {
    await this.gate;
    const added = permissions.filter(({ flow }) => !this.entries.has(flowKey(flow))).length;
    if (this.entries.size + added > this.capacity) throw new Error("the table is full");
    for (const installation of permissions) {
      const key = flowKey(installation.flow);
      const before = this.entries.get(key);
      const count = installation.countFrom ?? Math.max(before?.count ?? 0, installation.countedAtLeast ?? 0);
      const same = spiOf(before?.installation) === spiOf(installation);
      if (!same) this.associations.push({ at: this.#time.now(), ...keptOf(installation) });
      this.entries.set(key, {
        installation: {
          ...installation,
          ...keptOf(same ? (before ?? { installation }).installation : installation),
        },
        count,
        until: this.#time.now() + installation.lifetime,
        sequence: same ? (before?.sequence ?? 0) : 0,
        marks: same ? (before?.marks ?? []) : [],
        failures: before?.failures ?? 0,
        places: before?.places,
      });
    }
  }

  async remove(flows: readonly Flow[]): Promise<void> {
    for (const flow of flows) this.entries.delete(flowKey(flow));
  }

  refuse(flow: Flow, duration: Milliseconds): void {
    this.refused.push({ flow: flowKey(flow), duration });
  }

  read(flows: readonly Flow[]): (FlowCount | undefined)[] {
    return flows.map((flow) => {
      const entry = this.entries.get(flowKey(flow));
      if (entry === undefined) return undefined;
      return {
        bytes: bytes(entry.count),
        packets: 0,
        overVolume: 0,
        expired: 0,
        idle: entry.count > 0 ? ms(0) : undefined,
        ...countOf(entry, this.numbers),
      };
    });
  }

  countUpTo(flow: Flow, spi: number, sequence: number): Bytes | undefined {
    const entry = this.entries.get(flowKey(flow));
    if (!this.numbers || entry === undefined || spiOf(entry.installation) !== spi) return undefined;
    return bytes(entry.marks.findLast((mark) => mark.sequence <= sequence)?.bytes ?? 0);
  }

  trace(flow: Flow, on: boolean): boolean {
    const entry = this.entries.get(flowKey(flow));
    if (entry === undefined) return false;
    entry.places = on ? new Map() : undefined;
    return on;
  }

  places(flow: Flow): readonly PlaceCount[] {
    return [...(this.entries.get(flowKey(flow))?.places?.values() ?? [])];
  }

  listen(listener: (events: readonly DatapathEvent[]) => void): void {
    this.#listener = listener;
  }

  status(): DatapathStatus {
    return {
      engine: "fake",
      flows: this.entries.size,
      capacity: this.capacity,
      held: 0,
      counters: {},
      queues: [],
    };
  }

  async stop(): Promise<void> {}

  want(flow: Flow): void {
    this.#listener?.([{ type: "wanted", flow }]);
  }

  /** Packets of the flow have come up to this sequence number; from three quarters of them on it needs a new key. */
  reach(flow: Flow, sequence: number): void {
    const entry = this.entries.get(flowKey(flow));
    const spi = spiOf(entry?.installation);
    if (entry === undefined || spi === undefined) throw new Error("the flow has no association");
    entry.sequence = sequence;
    if (sequence >= 0.75 * 2 ** 32) this.#listener?.([{ type: "rekey", flow, spi }]);
  }

  /** Packets of the flow fail authentication. */
  fail(flow: Flow, packets: number, at = HERE): void {
    const entry = this.entries.get(flowKey(flow));
    if (entry === undefined) return;
    entry.failures += packets;
    countAt(entry, at, 0, packets);
  }

  /** Lets bytes of a flow through as far as its permission goes; says how many passed. */
  pass(flow: Flow, volume: number, at = HERE): number {
    const entry = this.entries.get(flowKey(flow));
    if (entry === undefined || entry.until <= this.#time.now()) return 0;
    const { allowedVolume, notifyAt } = entry.installation;
    const before = entry.count;
    const passed = Math.min(volume, allowedVolume - before);
    entry.count += passed;
    countAt(entry, at, passed, 0);
    if (this.numbers && spiOf(entry.installation) !== undefined) this.#number(entry, passed);
    if (notifyAt !== undefined && before < notifyAt && entry.count >= notifyAt)
      this.#listener?.([{ type: "threshold", flow, bytes: bytes(entry.count) }]);
    if (passed < volume) this.#listener?.([{ type: "exhausted", flow, bytes: bytes(entry.count) }]);
    return passed;
  }

  /** Packets of {@link PACKET} bytes and a rest, with the next numbers. */
  #number(entry: Entry, passed: number): void {
    for (let left = passed; left > 0; left -= PACKET) {
      const counted = (entry.marks.at(-1)?.bytes ?? 0) + Math.min(PACKET, left);
      entry.marks.push({ sequence: ++entry.sequence, bytes: counted });
    }
  }
}

/** Path and filter as far as PBS steers them. */
export class FakePaths implements PathChanger, SourceBlocker, ConnectionEnder {
  /** Names of the paths after the first. */
  readonly others: string[] = [];
  readonly calls: string[] = [];
  /** Flows whose connections were ended. */
  readonly ended: string[] = [];
  /** Place in the list; 0: the first path. */
  at = 0;
  /** Of the paths that are for new flows alone. */
  readonly sources = new Map<string, IpAddress>();

  async hasNext(): Promise<boolean> {
    return this.at < this.others.length;
  }

  async next(
    _flow: Flow,
    beforeSource: () => void = () => undefined,
  ): Promise<{ readonly name: string; readonly source?: IpAddress } | undefined> {
    const name = this.others[this.at];
    if (name === undefined) return undefined;
    const source = this.sources.get(name);
    if (source === undefined) this.at++;
    else beforeSource();
    this.calls.push(`next ${name}`);
    return source === undefined ? { name } : { name, source };
  }

  async undo(): Promise<void> {
    this.at = 0;
    this.calls.push("undo");
  }

  async undoSource(): Promise<void> {
    this.calls.push("undo source");
  }

  async end(flow: Flow): Promise<void> {
    this.ended.push(flowKey(flow));
  }

  async block(source: IpAddress, duration: Milliseconds): Promise<void> {
    this.calls.push(`block ${source} ${duration}`);
  }
}

/** Filters by place, as far as PBS sets them. */
export class FakePlaces implements PlaceBlocker {
  readonly blocks: PlaceBlock[] = [];
  readonly calls: string[] = [];
  failure: Error | undefined;

  async block(block: PlaceBlock, duration: Milliseconds): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    this.blocks.push(block);
    this.calls.push(`block ${block.interface} ${block.address ?? "all"} ${duration}`);
  }

  blocked(flow: Flow): readonly PlaceBlock[] {
    return this.blocks.filter((block) => flowKey(block.flow) === flowKey(flow));
  }

  async lift(): Promise<void> {
    this.blocks.length = 0;
    this.calls.push("lift");
  }
}

function countAt({ places }: Entry, at: typeof HERE, passed: number, failed: number): void {
  const name = `${at.interface} ${at.address}`;
  const before = places?.get(name);
  places?.set(name, {
    ...at,
    bytes: bytes((before?.bytes ?? 0) + passed),
    failed: (before?.failed ?? 0) + failed,
  });
}

function spiOf(installation: Installation | undefined): number | undefined {
  return installation?.authentication?.association.spi;
}

function keptOf({ authentication }: Installation): { authentication?: Authentication } {
  if (authentication === undefined) return {};
  const { association } = authentication;
  return {
    authentication: {
      ...authentication,
      association: { ...association, key: Uint8Array.from(association.key) },
    },
  };
}

function countOf(
  { installation, sequence, marks, failures: badIcv }: Entry,
  numbers: boolean,
): { authentication?: AuthenticationCount } {
  const association = installation.authentication?.association;
  if (association === undefined) return {};
  const failures = { missing: 0, malformed: 0, unknownSpi: 0, replayed: 0, badIcv };
  const counted = numbers ? { bytes: bytes(marks.at(-1)?.bytes ?? 0) } : {};
  const { spi, algorithm } = association;
  return { authentication: { spi, algorithm, sequence, failures, ...counted } };
}

/** What happens to a message between two nodes: what is delivered, in order. Empty: lost. */
export type Tamper = (message: SendMessage, from: Place) => readonly SendMessage[];

interface Host {
  readonly node: PbsNode;
  readonly datapath: FakeDatapath;
  readonly events: PbsEvent[];
  readonly places: FakePlaces;
  nslp: Nslp | undefined;
}

export class Line {
  readonly time = new FakeTime();
  readonly #hosts = new Map<Place, Host>();
  #boots = 0;
  readonly #credentials: Credentials;
  readonly #options: Partial<PbsOptions>;
  /** Of single nodes, from their next start on. */
  readonly own: Partial<Record<Place, Partial<PbsOptions>>> = {};
  tamper: Tamper = (message) => [message];
  /** The node whose signatures never come to be verified. */
  stuck: Place | undefined;
  /** When a node hears what came of checking a signature. */
  verified: (good: Promise<boolean>) => Promise<boolean> = (good) => good;
  /** Routes at the sender, filters at the receiver. */
  readonly paths = new FakePaths();
  /** Routing states that a node gave up, by place. */
  readonly invalidated: Place[] = [];
  decision: Decision = {
    type: "grant",
    rule: "test",
    grant: { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(60), extend: true },
  };

  readonly #mover: Place;

  /** @param paths names of the paths that `mover` can move flows to */
  constructor(
    credentials: Credentials,
    options: Partial<PbsOptions> = {},
    paths: readonly string[] = [],
    mover: Place = "sender",
  ) {
    this.#mover = mover;
    this.#credentials = credentials;
    this.#options = options;
    this.paths.others.push(...paths);
    for (const place of EVERYWHERE) this.boot(place);
  }

  /** Starts a node; one that ran there before is gone with all its state. */
  boot(place: Place, signer = this.#credentials.signers[place]): void {
    this.#hosts.get(place)?.node.stop();
    const datapath = new FakeDatapath(this.time);
    const places = new FakePlaces();
    const policy: Policy = {
      decide: () =>
        place === "receiver" ? this.decision : { type: "deny", reason: "not a receiver", rule: "test" },
    };
    const node = new PbsNode({
      gist: this.#gist(place),
      datapath,
      trust: this.#credentials.trust(),
      signer,
      policy,
      time: this.time,
      random: seededRandom(++this.#boots),
      logger: silentLogger,
      isLocal: (address) =>
        address.toString() === ADDRESSES[place] ||
        (place === "sender" && address.toString() === OTHER_ADDRESS),
      ...(place === this.#mover && this.paths.others.length > 0 && { paths: this.paths }),
      ...(place === "sender" && { connections: this.paths }),
      ...(place === "receiver" && { blocker: this.paths }),
      places,
      options: { ...this.#options, ...this.own[place] },
      verify: (...of) =>
        this.stuck === place ? new Promise(() => undefined) : this.verified(verifySignature(...of)),
    });
    const host: Host = { node, datapath, events: [], places, nslp: undefined };
    this.#hosts.set(place, host);
    node.listen((event) => host.events.push(event));
    node.start();
  }

  node(place: Place): PbsNode {
    return this.#host(place).node;
  }

  flows(place: Place): FlowView[] {
    return [...this.node(place).flows()];
  }

  datapath(place: Place): FakeDatapath {
    return this.#host(place).datapath;
  }

  places(place: Place): FakePlaces {
    return this.#host(place).places;
  }

  events(place: Place): readonly PbsEvent[] {
    return this.#host(place).events;
  }

  /** The GIST layer below a node reports that an association is gone. */
  loseAssociation(place: Place): void {
    for (const { id } of this.node(place).flows()) {
      this.node(place).networkNotification({
        nslpId: 32704,
        sessionId: id as ReceivedMessage["sessionId"],
        mri: {
          method: "loose-end",
          direction: "downstream",
          source: FLOW.source,
          destination: FLOW.destination,
        },
        type: "communication-failure",
        detail: "test",
      });
    }
  }

  /** Lets what is under way go on until this is so. Bounded: fails when nothing more happens. */
  async until(holds: () => boolean, what: string): Promise<void> {
    if (await quietly(holds)) return;
    throw new Error(`this did not come true: ${what}`);
  }

  /** Lets everything under way settle, where nothing in particular is waited for. */
  async settle(): Promise<void> {
    await quietly(() => false);
  }

  /**
   * Time passes in steps, with all that is under way settled in between. A step that is longer than the wait for an answer
   * would bring the second try before the first could be answered.
   */
  async pass(duration: Milliseconds, step = seconds(1)): Promise<void> {
    for (let left: number = duration; left > 0; left -= step) {
      this.time.advance(ms(Math.min(step, left)));
      await this.settle();
    }
  }

  deliver(message: SendMessage, from: Place, explicitlyRouted = false): void {
    const forth = [ADDRESSES.sender, OTHER_ADDRESS].some((one) => message.mri.source.toString() === one);
    const at = EVERYWHERE.indexOf(from) + (forth === (message.mri.direction === "downstream") ? 1 : -1);
    const to = EVERYWHERE[at];
    if (to === undefined) return;
    void this.#host(to).nslp?.recvMessage({
      data: message.data,
      nslpId: message.nslpId,
      sessionId: message.sessionId,
      mri: message.mri,
      routingStateCheck: false,
      siiHandle: from,
      transfer: {
        ...message.transfer,
        explicitlyRouted,
        returnRoutable: true,
        lastNode: at === EVERYWHERE.length - 1,
      },
      ipTtl: 64,
      ipDistance: 1,
      hopCount: (message.hopCount ?? 16) - 1,
      inboundInterface: "eth0",
    });
  }

  #gist(place: Place): GistService {
    return {
      register: (_id, nslp) => {
        this.#host(place).nslp = nslp;
      },
      sendMessage: (message) => {
        for (const one of this.tamper(message, place)) this.deliver(one, place);
      },
      setStateLifetime: () => undefined,
      invalidateRoutingState: () => void this.invalidated.push(place),
    };
  }

  #host(place: Place): Host {
    const host = this.#hosts.get(place);
    if (host === undefined) throw new Error(`no host at ${place}`);
    return host;
  }
}

/** Turns the event loop until this is so (true), or nothing more happens (false). */
async function quietly(holds: () => boolean): Promise<boolean> {
  for (let quiet = 0; quiet < QUIET_TURNS; quiet++) {
    if (holds()) return true;
    await new Promise((resolve) => setImmediate(resolve));
    if (verifying.size > 0) quiet = 0;
  }
  return holds();
}

export function permitted(line: Line, place: Place, flow = FLOW): boolean {
  return line.datapath(place).entries.has(flowKey(flow));
}

/** The sender asks for {@link FLOW}, and gets its permission at every node. */
export async function ask(line: Line): Promise<void> {
  line.datapath("sender").want(FLOW);
  await line.until(() => EVERYWHERE.every((place) => permitted(line, place)), "permission everywhere");
  await line.settle();
}

/** Traffic of the flow along the whole line; what arrives at the receiver. */
export function traffic(line: Line, volume: number): number {
  return EVERYWHERE.reduce((left, place) => line.datapath(place).pass(FLOW, left), volume);
}
