/**
 * Which way this host would send a flow's packets, asked of the kernel through rtnetlink and remembered for a
 * moment. Also the names of interfaces and the host's own addresses, kept up to date by the kernel's notifications.
 */
import netlink from "netlink";
import { addon } from "../../base/addon.js";
import type { IpAddress, IpFamily } from "../../base/address.js";
import type { Logger } from "../../base/log.js";
import { TICK, type Time, type Timer } from "../../base/time.js";
import { type Milliseconds, ms } from "../../base/units.js";
import type { Mri } from "../wire/messages.js";
import type { Counters } from "./counters.js";
import { type Exit, Exits } from "./exits.js";
import { Gateways } from "./gateways.js";
import { Links } from "./links.js";
import { familiesHashingPorts, familiesWithPortRules, RULE_CHANGES } from "./port-rules.js";
import { type Notice, RouteNotices } from "./route-notices.js";
import { type Answer, decodeAnswer, encodeQuestion } from "./route-question.js";
import type { Route } from "./transport.js";
import { type Question, questionKey, questionOf, towards } from "./way.js";

export interface RouteTableOptions {
  readonly time: Time;
  readonly logger: Logger;
  readonly counters: Counters;
  /** How long an answer of the kernel is believed when no notification says otherwise. */
  readonly lifetime: Milliseconds;
  /** Answers remembered at most. */
  readonly capacity: number;
  /** The mark by which packets about an MRI's flow are routed, where flows take paths of their own; 0: none. */
  readonly pathMark?: ((mri: Mri) => number) | undefined;
  /** Look-ups at a time; more are answered with "no route". */
  readonly pending: number;
}

/** How a Query-mode packet has to be sent so that it leaves by its flow's route. */
export interface WayOut {
  readonly route: Route;
  /** Mark of the raw socket; 0: none is needed. */
  readonly mark: number;
}

interface Found {
  readonly route: Route;
  readonly exit: Exit;
}

interface Remembered {
  readonly found: Found | undefined;
  readonly until: number;
}

const ROUTE_PROTOCOL = 0;
/** A burst of notifications, such as a link that goes down with all its routes, is one change. */
const SETTLE = ms(2 * TICK);

/** Of the addon (native/addon-route.c). */
interface NativeRoutes {
  askRoute(question: Buffer): Buffer;
}

export class RouteTable {
  readonly #options: RouteTableOptions;
  readonly #links = new Links();
  readonly #gateways = new Gateways();
  readonly #exits: Exits;
  #changed: (() => void) | undefined;
  #requests: netlink.NetlinkSocket | undefined;
  #notices: RouteNotices[] = [];
  readonly #cache = new Map<string, Remembered>();
  readonly #asked = new Map<string, Promise<Found | undefined>>();
  readonly #native = addon() as NativeRoutes;
  /** Counts changes, so that an answer older than a change is not remembered. */
  #epoch = 0;
  #settling: Timer | undefined;
  /** Links or addresses have changed since they were last read. */
  #outdated = false;
  /** IP versions in which ports choose among paths of equal cost, so that no question foretells a raw socket's way. */
  #unforeseeable: ReadonlySet<IpFamily> = new Set();
  /** IP versions with rules for ports. */
  #portRules: ReadonlySet<IpFamily> = new Set();

  constructor(options: RouteTableOptions) {
    this.#options = options;
    this.#exits = new Exits(options.counters);
  }

  /**
   * Opens netlink and reads links and addresses. Rejects with one clear error.
   * @param changed called once for each burst of changes of routes, rules, links, addresses or gateways in use
   */
  async start(changed?: () => void): Promise<void> {
    try {
      this.#changed = changed;
      this.#requests = netlink.createNetlink(ROUTE_PROTOCOL);
      this.#requests.on("error", (error) => this.#failed(error));
      this.#listen();
      await this.#load();
    } catch (error) {
      await this.stop();
      throw new Error(`cannot read routes and links from the kernel: ${text(error)}`);
    }
  }

  async stop(): Promise<void> {
    this.#changed = undefined;
    this.#settling?.cancel();
    for (const watch of this.#notices.splice(0)) watch.close();
    const requests = this.#requests;
    this.#requests = undefined;
    this.#cache.clear();
    if (requests === undefined) return;
    await this.#exits.removeAll(requests);
    requests.close();
  }

  /** Two MRIs with one key leave by the same route: a flow that was moved has another key than before. */
  wayKey(mri: Mri): string {
    return questionKey(this.#questionOf(mri));
  }

  /** The route of the flow if the kernel was asked lately and there is one; no waiting, no promise. */
  cached(mri: Mri): Route | undefined {
    return this.#remembered(questionKey(this.#questionOf(mri)))?.found?.route;
  }

  /** The route of the flow; undefined when there is none. Never rejects. */
  async lookup(mri: Mri): Promise<Route | undefined> {
    const found = await this.#lookup(this.#questionOf(mri));
    return found?.route;
  }

  /** {@link wayOut} at once, when all about it is known from lately. */
  cachedWayOut(mri: Mri): WayOut | undefined {
    const question = this.#questionOf(mri);
    const found = this.#remembered(questionKey(question))?.found;
    if (found === undefined) return undefined;
    if (question.mark !== undefined) return { route: found.route, mark: question.mark };
    const plain = this.#remembered(questionKey(plainQuestion(mri)))?.found;
    if (this.#isPlain(found, plain)) return { route: found.route, mark: 0 };
    const mark = this.#exits.ready(found.exit);
    return mark === undefined ? undefined : { route: found.route, mark };
  }

  /** How to send along the flow's route; undefined when there is none. Never rejects. */
  async wayOut(mri: Mri): Promise<WayOut | undefined> {
    const question = this.#questionOf(mri);
    const found = await this.#lookup(question);
    if (found === undefined) return undefined;
    const { route, exit } = found;
    if (question.mark !== undefined) return { route, mark: question.mark };
    if (this.#isPlain(found, await this.#lookup(plainQuestion(mri)))) return { route, mark: 0 };
    const requests = this.#requests;
    const mark = requests === undefined ? undefined : await this.#exits.open(exit, requests);
    return mark === undefined ? undefined : { route, mark };
  }

  /** Name of the interface with this index; "" when not known. */
  interfaceName(index: number): string {
    return this.#links.link(index)?.name ?? "";
  }

  /** Whether this is one of the host's own addresses. */
  isLocal(address: IpAddress): boolean {
    return this.#links.isLocal(address);
  }

  /** Signalling of a flow that was moved takes the flow's path, whatever other rules say; its mark alone leads there. */
  #questionOf(mri: Mri): Question {
    const mark = this.#options.pathMark?.(mri) ?? 0;
    if (mark !== 0) return { ...plainQuestion(mri), mark };
    const question = questionOf(mri);
    return this.#portsMatter(question.target.family) ? question : betweenHosts(question);
  }

  #portsMatter(family: IpFamily): boolean {
    return this.#unforeseeable.has(family) || this.#portRules.has(family);
  }

  /** Whether a raw socket without mark sends this way. */
  #isPlain({ exit }: Found, plain: Found | undefined): boolean {
    if (plain === undefined || this.#unforeseeable.has(exit.family)) return false;
    const [a, b] = [exit.gateway, plain.exit.gateway];
    return (
      exit.outbound === plain.exit.outbound && (a === undefined ? b === undefined : b?.equals(a) === true)
    );
  }

  #lookup(question: Question): Promise<Found | undefined> {
    const key = questionKey(question);
    const remembered = this.#remembered(key);
    if (remembered !== undefined) return Promise.resolve(remembered.found);
    const asked = this.#asked.get(key);
    if (asked !== undefined) return asked;
    if (this.#asked.size >= this.#options.pending) {
      this.#options.counters.add("route.overload");
      return Promise.resolve(undefined);
    }
    const answer = this.#find(question, key).finally(() => this.#asked.delete(key));
    this.#asked.set(key, answer);
    return answer;
  }

  #remembered(key: string): Remembered | undefined {
    const entry = this.#cache.get(key);
    if (entry === undefined || entry.until > this.#options.time.now()) return entry;
    this.#cache.delete(key);
    return undefined;
  }

  async #find(question: Question, key: string): Promise<Found | undefined> {
    const epoch = this.#epoch;
    try {
      const answer = await this.#answer(question);
      const found = answer === undefined ? undefined : await this.#read(question, answer);
      if (epoch === this.#epoch) this.#remember(key, found);
      return found;
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  /** The kernel takes a source that is not its own only from what comes in by an interface. */
  async #answer(question: Question): Promise<Answer | undefined> {
    const { target, source } = question;
    if (source === undefined || this.isLocal(source)) return this.#request(question);
    const withoutSource = { ...question, source: undefined };
    if (this.isLocal(target)) return this.#request(withoutSource);
    const inbound = await this.#inboundOf(source);
    const forwarded = inbound === undefined ? undefined : this.#request({ ...question, inbound });
    return forwarded ?? this.#request(withoutSource);
  }

  /** By which interface packets from there come, as far as the way back tells. */
  async #inboundOf(source: IpAddress): Promise<number | undefined> {
    const question = { target: source };
    const key = questionKey(question);
    const known = this.#remembered(key);
    // Not by the list of what is asked: this is part of a look-up that has its place there.
    const back = known === undefined ? await this.#find(question, key) : known.found;
    return back?.exit.outbound;
  }

  /** At once: the kernel works it out while it takes the question. */
  #request(question: Question): Answer | undefined {
    this.#options.counters.add("route.asked");
    try {
      return decodeAnswer(this.#native.askRoute(encodeQuestion(question)));
    } catch {
      // The kernel says "unreachable" by an error.
      this.#options.counters.add("route.none");
      return undefined;
    }
  }

  async #read(question: Question, answer: Answer): Promise<Found | undefined> {
    const { outbound, gateway } = answer;
    // An interface that just appeared is not in the table before its notification has settled.
    if (this.#links.link(outbound) === undefined) await this.#load();
    const link = this.#links.link(outbound);
    const interfaceAddress = answer.preferred ?? this.#ownAddress(question, outbound);
    if (link === undefined || interfaceAddress === undefined) return undefined;
    if (gateway !== undefined) this.#gateways.add(gateway);
    return {
      route: { interfaceAddress, interfaceName: link.name, mtu: answer.mtu ?? link.mtu, nextHop: gateway },
      exit: { family: question.target.family, outbound, gateway },
    };
  }

  /** The own address on that interface; with several of them the one that the kernel prefers for the target. */
  #ownAddress({ target, source, mark }: Question, outbound: number): IpAddress | undefined {
    const own = this.#links.addresses(outbound, target.family);
    const asSource = source === undefined ? undefined : own.find((address) => address.equals(source));
    if (asSource !== undefined || own.length === 1) return asSource ?? own[0];
    const answer = this.#request({ target, mark, outbound });
    return answer?.preferred ?? own[0];
  }

  #remember(key: string, found: Found | undefined): void {
    if (this.#cache.size >= this.#options.capacity) {
      const oldest = this.#cache.keys().next().value;
      if (oldest !== undefined) this.#cache.delete(oldest);
    }
    this.#cache.set(key, { found, until: this.#options.time.now() + this.#options.lifetime });
  }

  #listen(): void {
    const { MulticastGroups, MessageType } = netlink.rt;
    const firstOfRoutes = Number(MessageType.NEWROUTE);
    this.#subscribe(
      [
        MulticastGroups.LINK,
        MulticastGroups.IPV4_IFADDR,
        MulticastGroups.IPV4_ROUTE,
        MulticastGroups.IPV4_RULE,
        MulticastGroups.IPV6_IFADDR,
        MulticastGroups.IPV6_ROUTE,
        MulticastGroups.IPV6_RULE,
        MulticastGroups.NEXTHOP,
      ],
      (notices) => {
        const own = this.#requests?.address().port;
        // What the kernel does by itself has port 0.
        const foreign = notices.filter(({ port }) => port === 0 || port !== own);
        // Messages of links and addresses are numbered below those of routes and rules.
        const outdated = ({ type }: Notice): boolean => type < firstOfRoutes || RULE_CHANGES.includes(type);
        if (foreign.length > 0) this.#change(foreign.some(outdated));
      },
    );
    // Apart from the others: whoever scans a link makes so many that some get lost.
    this.#subscribe([MulticastGroups.NEIGH], (notices) => {
      const news = notices.filter(({ type }) => type === Number(MessageType.NEWNEIGH));
      if (news.some(({ data }) => this.#gateways.changedBy(data))) this.#change(false);
    });
  }

  #subscribe(groups: readonly number[], take: (notices: readonly Notice[]) => void): void {
    const notices = (list: readonly Notice[]): void => {
      try {
        take(list);
      } catch (error) {
        this.#failed(error);
        this.#change(true);
      }
    };
    this.#notices.push(new RouteNotices(groups, { notices, lost: () => this.#change(true) }));
  }

  #change(outdated: boolean): void {
    this.#outdated ||= outdated;
    this.#forget();
    this.#settling ??= this.#options.time.after(SETTLE, () => void this.#settle());
  }

  async #settle(): Promise<void> {
    try {
      if (this.#outdated) {
        this.#outdated = false;
        await this.#load();
        this.#forget();
      }
    } catch (error) {
      this.#failed(error);
    }
    this.#settling = undefined;
    this.#tell();
    // Something came while links and addresses were read.
    if (this.#outdated) this.#change(true);
  }

  #tell(): void {
    try {
      this.#changed?.();
    } catch (error) {
      this.#options.logger.error({ error }, "a change of routes could not be handled");
    }
  }

  #forget(): void {
    this.#options.counters.add("route.changed");
    this.#epoch++;
    this.#cache.clear();
    this.#exits.doubt();
  }

  async #load(): Promise<void> {
    if (this.#requests === undefined) return;
    await this.#links.load(this.#requests);
    this.#unforeseeable = await familiesHashingPorts();
    this.#portRules = await familiesWithPortRules(this.#requests);
  }

  #failed(error: unknown): void {
    this.#options.counters.add("route.failed");
    this.#options.logger.warn({ error: text(error) }, "reading routes from the kernel failed");
  }
}

/** All flows between two hosts share the answer. */
function betweenHosts({ target, source, dscp }: Question): Question {
  return { target, source, dscp };
}

/** What the kernel looks at when a raw socket sends. */
function plainQuestion(mri: Mri): Question {
  return { target: towards(mri) };
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
