/**
 * A bounded queue that is fair at two levels: over groups, and over the members of each (deficit round robin, Shreedhar
 * and Varghese 1995). Putting in and taking out are O(1) on average however many groups, members and items there are;
 * whoever has nothing waiting takes no memory.
 *
 * Room is shared by a dynamic threshold (Choudhury and Hahne 1998): nobody may have more waiting than there is room
 * left. One group alone gets half of the room, and there is always some for one more. Members share what their
 * group may have in the same way.
 */

/** Served once to a group and to a member in a round; who takes something dearer sits out the next ones. */
const QUANTUM = 8;

export interface Taken<T> {
  readonly item: T;
  /** For {@link FairQueue.giveBack}. */
  readonly paid: { readonly cost: number; readonly by: readonly InTurn[] };
}

/** Who had too much waiting already. */
export type NoRoom = "member" | "group";

export class FairQueue<T> {
  readonly #capacity: number;
  readonly #groups = new Map<string, Group<T>>();
  readonly #round = new Fifo<Group<T>>();
  #size = 0;

  /** @param capacity items at most */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#size;
  }

  /** Groups that have something waiting. */
  get groups(): number {
    return this.#groups.size;
  }

  /** At most so many items are served before one that this member puts in now. */
  ahead(groupName: string, memberName: string): number {
    const group = this.#groups.get(groupName);
    const own = (group?.sizeOf(memberName) ?? 0) + 1;
    const members = (group?.members ?? 0) + (own === 1 ? 1 : 0);
    const groups = this.#groups.size + (group === undefined ? 1 : 0);
    return Math.min(this.#size, own * members * groups - 1);
  }

  /**
   * Puts one item at the end of its member's line; tells who has too much waiting if it cannot.
   * @param cost of serving it, 1 to 8 as a rule
   */
  push(groupName: string, memberName: string, item: T, cost: number): NoRoom | undefined {
    const group = this.#groups.get(groupName) ?? new Group<T>(groupName);
    const room = this.#capacity - this.#size;
    const ofGroup = group.size + room;
    if (group.size >= room) return "group";
    // What the group may have in all is what it has and what it could still take.
    if (group.sizeOf(memberName) >= Math.max(1, Math.floor(ofGroup / 2) - group.size)) return "member";
    if (group.size === 0) {
      this.#groups.set(groupName, group);
      this.#round.push(group);
    }
    group.push(memberName, item, cost);
    this.#size++;
    return undefined;
  }

  /** The item whose turn it is; undefined when nothing waits. */
  take(): Taken<T> | undefined {
    const group = nextOf(this.#round);
    if (group === undefined) return undefined;
    const { item, paid } = group.take();
    group.credit -= paid.cost;
    this.#size--;
    if (group.size === 0) {
      this.#groups.delete(group.name);
      this.#round.shift();
    }
    return { item, paid: { cost: paid.cost, by: [group, ...paid.by] } };
  }

  /** What was taken needed no serving: its turn is its group's and member's again. */
  giveBack({ paid }: Taken<unknown>): void {
    for (const payer of paid.by) payer.credit += paid.cost;
  }
}

interface InTurn {
  credit: number;
}

/** Whose turn it is: stays at the head until its credit is spent. */
function nextOf<E extends InTurn>(round: Fifo<E>): E | undefined {
  for (;;) {
    const first = round.first;
    if (first === undefined || first.credit > 0) return first;
    first.credit += QUANTUM;
    round.shift();
    round.push(first);
  }
}

interface Waiting<T> {
  readonly item: T;
  readonly cost: number;
}

class Member<T> implements InTurn {
  readonly name: string;
  readonly items = new Fifo<Waiting<T>>();
  credit = 0;

  constructor(name: string) {
    this.name = name;
  }
}

class Group<T> implements InTurn {
  readonly name: string;
  credit = 0;
  size = 0;
  readonly #members = new Map<string, Member<T>>();
  readonly #round = new Fifo<Member<T>>();

  constructor(name: string) {
    this.name = name;
  }

  get members(): number {
    return this.#members.size;
  }

  sizeOf(memberName: string): number {
    return this.#members.get(memberName)?.items.size ?? 0;
  }

  push(memberName: string, item: T, cost: number): void {
    let member = this.#members.get(memberName);
    if (member === undefined) {
      member = new Member<T>(memberName);
      this.#members.set(memberName, member);
      this.#round.push(member);
    }
    member.items.push({ item, cost });
    this.size++;
  }

  /** Only while something waits. */
  take(): Taken<T> {
    const member = nextOf(this.#round);
    const taken = member?.items.shift();
    if (member === undefined || taken === undefined) throw new Error("nothing waits");
    member.credit -= taken.cost;
    this.size--;
    if (member.items.size === 0) {
      this.#members.delete(member.name);
      this.#round.shift();
    }
    return { item: taken.item, paid: { cost: taken.cost, by: [member] } };
  }
}

interface Link<T> {
  readonly value: T;
  next: Link<T> | undefined;
}

/** First in, first out, O(1), and nothing kept of what has left. */
class Fifo<T> {
  size = 0;
  #head: Link<T> | undefined;
  #tail: Link<T> | undefined;

  get first(): T | undefined {
    return this.#head?.value;
  }

  push(value: T): void {
    const link: Link<T> = { value, next: undefined };
    if (this.#tail === undefined) this.#head = link;
    else this.#tail.next = link;
    this.#tail = link;
    this.size++;
  }

  shift(): T | undefined {
    const head = this.#head;
    if (head === undefined) return undefined;
    this.#head = head.next;
    if (head.next === undefined) this.#tail = undefined;
    this.size--;
    return head.value;
  }
}
