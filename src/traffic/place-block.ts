/**
 * Drops packets of single flows where they come in off the flow's path, for a time: by the interface, or by the hardware
 * address there. Rules of one chain of the firewall's ({@link OFF_PATH_CHAIN}), and the same by an engine that packets reach
 * before; they end with their time, when somebody takes them out, and when a daemon begins anew.
 */
import { type Flow, flowKey, hasPorts, PROTOCOL } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import type { Time, Timer } from "../base/time.js";
import { type Milliseconds, ms } from "../base/units.js";
import { FirewallError } from "./command.js";
import type { Datapath, FlowPlace } from "./datapath.js";
import { type Backend, changeRules } from "./firewall.js";
import { AH_FIRST, OFF_PATH_CHAIN } from "./firewall-rules.js";

/** Every packet that comes in is compared with each of them. */
export const MOST_PLACES = 64;

export interface PlaceBlock extends FlowPlace {
  /** The flow's packets carry AH, which shows no ports: with it all AH between the two hosts is meant. */
  readonly authenticated: boolean;
}

export interface BlockedPlace extends PlaceBlock {
  /** "p1" */
  readonly id: string;
  readonly remaining: Milliseconds;
}

interface Blocked {
  readonly block: PlaceBlock;
  readonly rules: readonly string[];
  until: number;
  timer: Timer;
}

/** How rules are changed: lines "-A CHAIN rule" and "-D CHAIN rule" of table mangle. */
export type ChangeRules = (family: Flow["source"]["family"], lines: readonly string[]) => Promise<void>;

/** An engine that packets may reach before the rules. */
export type PlaceEngine = Pick<Datapath, "engine" | "blockPlace" | "unblockPlace">;

export class PlaceBlocker {
  readonly #change: ChangeRules;
  readonly #engine: PlaceEngine | undefined;
  readonly #time: Time;
  readonly #logger: Logger;
  readonly #blocked = new Map<string, Blocked>();
  /** One change after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #made = 0;

  constructor(time: Time, logger: Logger, change: ChangeRules, engine?: PlaceEngine) {
    this.#time = time;
    this.#logger = logger;
    this.#change = change;
    this.#engine = engine;
  }

  static of(backend: Backend, time: Time, logger: Logger, engine: PlaceEngine): PlaceBlocker {
    const change: ChangeRules = (family, lines) => changeRules(backend, family, "mangle", lines);
    return new PlaceBlocker(time, logger, change, engine);
  }

  /**
   * Drops what comes in there, for so long from now; a block that is there already gets the new end. Rejects with a
   * FirewallError: when the kernel cannot, or {@link MOST_PLACES} are blocked.
   */
  block(block: PlaceBlock, duration: Milliseconds): Promise<void> {
    return this.#inTurn(async () => {
      const there = [...this.#blocked].find(([, { block: other }]) => isSame(block, other));
      if (there !== undefined) return this.#prolong(...there, duration);
      if (this.#blocked.size >= MOST_PLACES)
        throw new FirewallError(`${MOST_PLACES} places are blocked already`, "pbsctl unblock ends a block");
      const rules = placeRules(block);
      await this.#add(block, rules, duration);
      const id = `p${++this.#made}`;
      this.#blocked.set(id, { block, rules, ...this.#ending(id, duration) });
    });
  }

  /** Places at which packets of the flow are dropped. */
  blocked(flow: Flow): readonly PlaceBlock[] {
    const key = flowKey(flow);
    const all = [...this.#blocked.values()].map(({ block }) => block);
    return all.filter((block) => flowKey(block.flow) === key);
  }

  /** Lets packets of the flow come in anywhere again. Rejects with a FirewallError. */
  async lift(flow: Flow): Promise<void> {
    const key = flowKey(flow);
    for (const [id, { block }] of [...this.#blocked]) if (flowKey(block.flow) === key) await this.unblock(id);
  }

  /** Ends one block. Resolves to whether there was one. Rejects with a FirewallError. */
  unblock(id: string): Promise<boolean> {
    return this.#inTurn(async () => {
      const blocked = this.#blocked.get(id);
      if (blocked === undefined) return false;
      const { block, rules, timer } = blocked;
      this.#engine?.unblockPlace?.(block);
      await this.#change(
        block.flow.source.family,
        rules.map((rule) => `-D ${OFF_PATH_CHAIN} ${rule}`),
      );
      timer.cancel();
      this.#blocked.delete(id);
      return true;
    });
  }

  list(): readonly BlockedPlace[] {
    const now = this.#time.now();
    return [...this.#blocked].map(([id, { block, until }]) => ({
      ...block,
      id,
      remaining: ms(Math.max(0, until - now)),
    }));
  }

  /** The rules stay, as all others do. */
  stop(): void {
    for (const { timer } of this.#blocked.values()) timer.cancel();
  }

  /** By both, or by none. */
  async #add(block: PlaceBlock, rules: readonly string[], duration: Milliseconds): Promise<void> {
    this.#engine?.blockPlace?.(block, duration);
    try {
      await this.#change(
        block.flow.source.family,
        rules.map((rule) => `-A ${OFF_PATH_CHAIN} ${rule}`),
      );
    } catch (error) {
      this.#engine?.unblockPlace?.(block);
      throw error;
    }
  }

  #prolong(id: string, blocked: Blocked, duration: Milliseconds): void {
    this.#engine?.blockPlace?.(blocked.block, duration);
    blocked.timer.cancel();
    Object.assign(blocked, this.#ending(id, duration));
  }

  #ending(id: string, duration: Milliseconds): { until: number; timer: Timer } {
    const timer = this.#time.after(duration, () => {
      this.unblock(id).catch((error: unknown) =>
        this.#logger.error({ error, id }, "a block could not be ended"),
      );
    });
    return { until: this.#time.now() + duration, timer };
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action, action);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

function isSame(a: PlaceBlock, b: PlaceBlock): boolean {
  return (
    flowKey(a.flow) === flowKey(b.flow) &&
    a.interface === b.interface &&
    a.address === b.address &&
    a.authenticated === b.authenticated
  );
}

/** What iptables takes without quoting. */
const PLAIN_INTERFACE = /^[A-Za-z0-9_.@-]{1,15}$/;
const PLAIN_ADDRESS = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;
const VERDICT = "-m comment --comment pbs:drop.off-path -j DROP";

/** Rules for one block, without a chain. Throws FirewallError for names that cannot stand in one. */
export function placeRules({ flow, interface: name, address, authenticated }: PlaceBlock): readonly string[] {
  if (!PLAIN_INTERFACE.test(name) || (address !== undefined && !PLAIN_ADDRESS.test(address)))
    throw new FirewallError(`"${name}" cannot stand in a rule`, "rename the interface");
  const { protocol, source, sourcePort, destination, destinationPort } = flow;
  const where = address === undefined ? `-i ${name}` : `-i ${name} -m mac --mac-source ${address}`;
  const hosts = `-s ${source} -d ${destination}`;
  const ports = hasPorts(protocol)
    ? `-m ${protocol === PROTOCOL.tcp ? "tcp" : "udp"} --sport ${sourcePort} --dport ${destinationPort} `
    : "";
  const plain = `${where} ${hosts} -p ${protocol} ${ports}${VERDICT}`;
  if (!authenticated) return [plain];
  return [plain, `${where} ${hosts} ${source.family === 4 ? "-p ah" : AH_FIRST} ${VERDICT}`];
}
