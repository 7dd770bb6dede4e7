/**
 * Moves single flows from path to path. At the sender the packet engine sets the mark of the flow's packets, and the kernel
 * routes them anew by it; at a router, where routing comes first, a rule of its own matches the flow. Paths are those of the
 * configuration, in its order, then the other next hops of the kernel's own multipath route. A path through a relay leads into
 * the relay's device. A path by another source address is for new flows alone: connections that the application opens after
 * the one that left.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { IpAddress, IpFamily, IpPrefix } from "../base/address.js";
import { type Flow, flowKey } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import { markOf, MAX_PATHS, type NextHop, PathTables } from "./routes.js";

export { MAX_PATHS } from "./routes.js";

/** Another way out: at least one of `via` and `device`, or a relay, or a source. */
export interface PathOption {
  /** Absent: for flows to everywhere. */
  readonly to?: IpPrefix;
  readonly via?: IpAddress;
  /** Name of the interface. */
  readonly device?: string;
  readonly relay?: IpAddress;
  /** Another address of this host, which goes by `via` and `device`, or by the routing table. */
  readonly source?: IpAddress;
}

export interface PathsOptions {
  readonly paths: readonly PathOption[];
  readonly isLocal: (address: IpAddress) => boolean;
  /** The engine's, for flows of this host; absent: they cannot be moved. */
  readonly steer?: (flow: Flow, path: number) => void;
  /** The device that leads to a relay. */
  readonly relayDevice?: (relay: IpAddress) => string | undefined;
  readonly logger: Logger;
}

/** What went wrong and what to do about it. */
export class PathError extends Error {
  override readonly name = "PathError";
}

export interface Path {
  /** For people, such as "via 192.168.20.6 dev eth1". */
  readonly name: string;
  /** New flows like this one have this source; the flow itself stays. */
  readonly source?: IpAddress;
}

/** Flows of this host that are away from their first path. */
const MAX_STEERED = 65_536;
/** The kernel goes through the rules of flows one by one for every packet that it forwards. */
const MAX_RULED = 256;
/** Of these to one destination: a receiver that asks for more shall not take the place of others. */
const MAX_RULED_ALIKE = 64;

/** Of destination, protocol and port, that have other source addresses. */
const MAX_SOURCED = 256;

/** New flows of a kind have another source. */
interface Sourced {
  readonly flow: Flow;
  readonly path: Made;
  readonly tried: readonly string[];
}

interface Moved {
  readonly flow: Flow;
  readonly steered: boolean;
  /** Tried in this round, the current one last. */
  readonly tried: readonly string[];
  readonly path: Made | undefined;
}

/** A path that a flow could be moved to. */
interface Candidate extends Path {
  readonly hop: NextHop;
}

/** A path with its number, table and rule. */
interface Made extends Path {
  readonly number: number;
}

export class Paths {
  readonly #options: PathsOptions;
  readonly #tables: PathTables;
  readonly #made = new Map<string, Promise<Made>>();
  readonly #moved = new Map<string, Moved>();
  /** By {@link kindOf}. */
  readonly #sourced = new Map<string, Sourced>();
  /** Changes to the kernel, one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #numbers = 0;

  private constructor(options: PathsOptions, tables: PathTables) {
    this.#options = options;
    this.#tables = tables;
  }

  /** Takes out what an earlier run left in the kernel. Rejects when rtnetlink does not answer. */
  static async open(options: PathsOptions): Promise<Paths> {
    const tables = new PathTables();
    try {
      await tables.removeAll();
      return new Paths(options, tables);
    } catch (error) {
      tables.close();
      throw new PathError(`routing rules cannot be changed: ${text(error)}; run with CAP_NET_ADMIN`);
    }
  }

  /** Takes out what any run left in the kernel. */
  static async cleanup(): Promise<void> {
    const tables = new PathTables();
    await tables.removeAll().finally(() => tables.close());
  }

  /** Whether there is a path left to move this flow to. Does not reject. */
  async hasNext(flow: Flow): Promise<boolean> {
    if (!this.#canMove(flow)) return false;
    const hops = await this.#untried(flow).catch(() => []);
    return hops.length > 0;
  }

  /**
   * Moves this flow alone to its next path in order. undefined: there is none left, and the flow stays where it is until
   * {@link undo}. Rejects with {@link PathError}; then it stays too.
   * @param beforeSource called before the first new flow can have another source
   */
  next(flow: Flow, beforeSource: () => void = () => undefined): Promise<Path | undefined> {
    return this.#inTurn(() => this.#next(flow, beforeSource));
  }

  /** Back to the path that the routing table gives; nothing where it is there already. Rejects with {@link PathError}. */
  undo(flow: Flow): Promise<void> {
    return this.#inTurn(() => this.#undo(flow));
  }

  /** New flows like this one have the source that the routing table gives. Rejects with {@link PathError}. */
  undoSource(flow: Flow): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#sourced.get(kindOf(flow));
      if (before === undefined) return;
      this.#sourced.delete(kindOf(flow));
      await this.#tables.removeSource(before.flow, before.path.number, before.path.source);
    });
  }

  /** The path that a flow was moved to; undefined: the routing table's. */
  current(flow: Flow): Path | undefined {
    return this.#moved.get(flowKey(flow))?.path;
  }

  /** The mark that packets about this flow must have to take its path: signalling that this host sends; 0: none. */
  mark(flow: Flow): number {
    const path = this.#moved.get(flowKey(flow))?.path;
    return path === undefined ? 0 : markOf(path.number);
  }

  /** Flows that are away from the routing table's path. */
  get moved(): number {
    return this.#moved.size;
  }

  /** Every flow goes back to the routing table's path, and the kernel is as it was before. Does not reject. */
  async stop(): Promise<void> {
    await this.#inTurn(async () => {
      for (const { flow, steered } of this.#moved.values()) if (steered) this.#options.steer?.(flow, 0);
      this.#moved.clear();
      this.#sourced.clear();
      await this.#tables.removeAll();
    }).catch((error: unknown) => {
      this.#options.logger.error({ error: text(error) }, "routing rules could not be taken out");
    });
    this.#tables.close();
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #next(flow: Flow, beforeSource: () => void): Promise<Path | undefined> {
    const key = flowKey(flow);
    const before = this.#moved.get(key);
    if (!this.#canMove(flow)) return undefined;
    const steered = this.#options.isLocal(flow.source);
    if (before === undefined) this.#makeRoom(flow, steered);
    const tried = before?.tried ?? [];
    for (const { hop, name, source } of await this.#untried(flow)) {
      const path = await this.#make(flow.destination.family, hop, name, source);
      if (source !== undefined) {
        beforeSource();
        return this.#nextSource(flow, path, source);
      }
      await this.#change({ flow, steered, path: before?.path, tried }, path);
      this.#moved.set(key, { flow, steered, tried: [...tried, name], path });
      return path;
    }
    return undefined;
  }

  /** The flows of a kind follow each other: who comes later finds what the first one has done. */
  async #nextSource(flow: Flow, path: Made, source: IpAddress): Promise<Path> {
    const kind = kindOf(flow);
    const before = this.#sourced.get(kind);
    if (before?.path.number === path.number) return path;
    if (before === undefined && this.#sourced.size >= MAX_SOURCED)
      throw new PathError(`${MAX_SOURCED} destinations have other source addresses already`);
    try {
      await this.#tables.addSource(flow, path.number, source);
      if (before !== undefined)
        await this.#tables.removeSource(before.flow, before.path.number, before.path.source);
    } catch (error) {
      throw new PathError(`the rule for source ${source} was refused: ${text(error)}`);
    }
    this.#sourced.set(kind, { flow, path, tried: [...(before?.tried ?? []), path.name] });
    return path;
  }

  async #undo(flow: Flow): Promise<void> {
    const key = flowKey(flow);
    const before = this.#moved.get(key);
    if (before === undefined) return;
    this.#moved.delete(key);
    await this.#change(before, undefined);
  }

  /** The new rule stands before the old one goes, so that no packet meets neither. */
  async #change({ flow, steered, path: before }: Moved, path: Made | undefined): Promise<void> {
    if (steered) {
      this.#options.steer?.(flow, path?.number ?? 0);
      return;
    }
    try {
      if (path !== undefined) await this.#tables.addFlow(flow, path.number);
      if (before !== undefined) await this.#tables.removeFlow(flow, before.number);
    } catch (error) {
      throw new PathError(`the rule of flow ${flowKey(flow)} was refused: ${text(error)}`);
    }
  }

  #canMove({ source }: Flow): boolean {
    return this.#options.steer !== undefined || !this.#options.isLocal(source);
  }

  async #untried(flow: Flow): Promise<Candidate[]> {
    const tried = this.#moved.get(flowKey(flow))?.tried ?? [];
    const kind = this.#sourced.get(kindOf(flow));
    return (await this.#candidates(flow)).filter(({ name, source }) =>
      source === undefined
        ? !tried.includes(name)
        : kind === undefined || kind.path.name === name || !kind.tried.includes(name),
    );
  }

  #makeRoom({ destination }: Flow, steered: boolean): void {
    let count = 0;
    let alike = 0;
    for (const moved of this.#moved.values()) {
      if (moved.steered !== steered) continue;
      count++;
      if (moved.flow.destination.equals(destination)) alike++;
    }
    if (count >= (steered ? MAX_STEERED : MAX_RULED))
      throw new PathError(`${count} flows are away from their first path already`);
    if (!steered && alike >= MAX_RULED_ALIKE)
      throw new PathError(`${alike} flows to ${destination} are away from their first path already`);
  }

  /** All ways but the one that the routing table gives now. */
  async #candidates(flow: Flow): Promise<Candidate[]> {
    const { destination, source } = flow;
    const local = this.#options.isLocal(source);
    const first = await this.#tables.nextHop(destination, local ? source : undefined);
    const configured = this.#options.paths
      .filter(({ to }) => to?.contains(destination) !== false)
      .filter(({ via }) => via === undefined || via.family === destination.family);
    const hops = await Promise.all(configured.map((path) => this.#resolve(path, flow)));
    const found = (await this.#tables.nextHops(destination)).map(candidateOf);
    const all = [...hops, ...found].flatMap((hop) => (hop === undefined ? [] : [hop]));
    const names = new Set(first === undefined ? [] : [nameOf(first)]);
    return all.filter(({ name }) => !names.has(name) && names.add(name));
  }

  /** Undefined while its interface is not there, or its next hop cannot be reached. */
  async #resolve(option: PathOption, flow: Flow): Promise<Candidate | undefined> {
    const { relay, source } = option;
    if (relay !== undefined) return this.#relayed(relay, flow);
    if (source === undefined) return this.#nextHop(option);
    if (source.family !== flow.source.family || source.equals(flow.source)) return undefined;
    if (!this.#options.isLocal(flow.source) || !this.#options.isLocal(source)) return undefined;
    const own = option.via !== undefined || option.device !== undefined;
    const hop = own
      ? (await this.#nextHop(option))?.hop
      : await this.#tables.nextHop(flow.destination, source);
    return hop === undefined ? undefined : { hop, name: `source ${source} ${nameOf(hop)}`, source };
  }

  async #nextHop({ via, device }: PathOption): Promise<Candidate | undefined> {
    const index = device === undefined ? undefined : indexOf(device);
    if (device !== undefined && index === undefined) return undefined;
    if (index !== undefined) return candidateOf({ device: index, ...(via && { via }) });
    const hop = via === undefined ? undefined : await this.#tables.nextHop(via);
    return via === undefined || hop === undefined ? undefined : candidateOf({ device: hop.device, via });
  }

  /** What goes to the relay itself, the packets that carry others' there included, cannot go through it. */
  #relayed(relay: IpAddress, { destination }: Flow): Candidate | undefined {
    if (destination.equals(relay)) return undefined;
    const device = this.#options.relayDevice?.(relay);
    const index = device === undefined ? undefined : indexOf(device);
    return index === undefined ? undefined : { hop: { device: index }, name: `relay ${relay}` };
  }

  /** Numbers are never given back: there are only as many paths as the machine has next hops. */
  #make(family: IpFamily, hop: NextHop, name: string, source?: IpAddress): Promise<Made> {
    const key = `${family} ${name}`;
    const made = this.#made.get(key);
    if (made !== undefined) return made;
    if (this.#numbers === MAX_PATHS) throw new PathError(`there are ${MAX_PATHS} paths already`);
    const number = ++this.#numbers;
    const making = this.#tables.addPath(family, number, hop, source).then(
      () => ({ number, name, ...(source && { source }) }),
      (error: unknown) => {
        this.#made.delete(key);
        throw new PathError(`the path ${name} was refused: ${text(error)}`);
      },
    );
    this.#made.set(key, making);
    return making;
  }
}

const INTERFACES = "/sys/class/net";

/** Undefined for an interface that is not there. */
function indexOf(device: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(`${INTERFACES}/${device}/ifindex`, "utf8"), 10);
  } catch {
    return undefined;
  }
}

function kindOf({ protocol, destination, destinationPort }: Flow): string {
  return `${protocol} ${destination} ${destinationPort}`;
}

function candidateOf(hop: NextHop): Candidate {
  return { hop, name: nameOf(hop) };
}

function nameOf({ via, device }: NextHop): string {
  const name = readdirSync(INTERFACES).find((one) => indexOf(one) === device) ?? String(device);
  return via === undefined ? `dev ${name}` : `via ${via} dev ${name}`;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
