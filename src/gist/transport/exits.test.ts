import test from "ava";
import { IpAddress } from "../../base/address.js";
import { Counters } from "./counters.js";
import { type Exit, Exits, FIRST_MARK, MOST_EXITS, removeLeftExits } from "./exits.js";

type Request = Parameters<Exits["open"]>[1]["request"];

const NEW_ROUTE = 24;
const NEW_RULE = 32;
const DELETE_ROUTE = 25;
const DELETE_RULE = 33;

/** Records the types of the requests, and refuses those that a test says. */
class Kernel {
  readonly asked: number[] = [];
  refuse: (type: number) => string | undefined = () => undefined;

  readonly request: Request = (type) => {
    this.asked.push(type);
    const refusal = this.refuse(type);
    if (refusal !== undefined) return Promise.reject(new Error(`Request rejected: ${refusal}`));
    return Promise.resolve([[], { port: 0, groups: 0 }] as unknown as Awaited<ReturnType<Request>>);
  };
}

function exit(outbound: number, gateway?: string): Exit {
  return { family: 4, outbound, gateway: gateway === undefined ? undefined : IpAddress.parse(gateway) };
}

function setUp() {
  const counters = new Counters();
  return { exits: new Exits(counters), kernel: new Kernel(), counters };
}

test("an exit gets a mark with a route and a rule, once", async (t) => {
  const { exits, kernel } = setUp();
  const there = exit(3, "192.0.2.1");
  t.is(exits.ready(there), undefined);
  const [first, second] = await Promise.all([exits.open(there, kernel), exits.open(there, kernel)]);
  t.is(first, FIRST_MARK);
  t.is(second, FIRST_MARK);
  t.is(exits.ready(exit(3, "192.0.2.1")), FIRST_MARK);
  t.deepEqual(kernel.asked, [NEW_ROUTE, NEW_RULE]);
  t.is(await exits.open(exit(3, "192.0.2.2"), kernel), FIRST_MARK + 1);
  t.is(await exits.open(exit(3), kernel), FIRST_MARK + 2);
});

test("after a change it is installed again, over a rule that stands", async (t) => {
  const { exits, kernel, counters } = setUp();
  await exits.open(exit(3), kernel);
  exits.doubt();
  t.is(exits.ready(exit(3)), undefined);
  kernel.refuse = (type) => (type === NEW_RULE ? "EEXIST" : undefined);
  t.is(await exits.open(exit(3), kernel), FIRST_MARK);
  t.is(counters.get("exit.failed"), 0);
});

test("what the kernel refuses is no exit, and is tried again", async (t) => {
  const { exits, kernel, counters } = setUp();
  kernel.refuse = () => "ENETDOWN";
  t.is(await exits.open(exit(3), kernel), undefined);
  t.is(exits.ready(exit(3)), undefined);
  t.is(counters.get("exit.failed"), 1);
  kernel.refuse = () => undefined;
  t.is(await exits.open(exit(3), kernel), FIRST_MARK);
});

test("exits are bounded: the one that was not used for longest gives way", async (t) => {
  const { exits, kernel } = setUp();
  for (let i = 0; i < MOST_EXITS; i++) t.is(await exits.open(exit(i), kernel), FIRST_MARK + i);
  t.is(exits.ready(exit(0)), FIRST_MARK);
  t.is(await exits.open(exit(MOST_EXITS), kernel), FIRST_MARK + 1);
  t.is(exits.ready(exit(0)), FIRST_MARK);
  t.is(exits.ready(exit(1)), undefined);
});

test("at the end nothing stays, whatever the kernel says", async (t) => {
  const { exits, kernel } = setUp();
  await exits.open(exit(1), kernel);
  await exits.open(exit(2), kernel);
  kernel.refuse = () => "ENOENT";
  await exits.removeAll(kernel);
  t.is(kernel.asked.filter((type) => type === DELETE_RULE).length, 2);
  t.is(exits.ready(exit(1)), undefined);
});

test("what a killed node left is looked for under every mark; a refusal is told", async (t) => {
  const { kernel } = setUp();
  let there = 3;
  kernel.refuse = (type) => (type === DELETE_ROUTE && there-- > 0 ? undefined : "ESRCH");
  t.is(await removeLeftExits(kernel), 3);
  t.is(kernel.asked.filter((type) => type === DELETE_RULE).length, 2 * MOST_EXITS);
  t.is(kernel.asked.filter((type) => type === DELETE_ROUTE).length, 2 * MOST_EXITS);
  kernel.refuse = () => "EPERM";
  await t.throwsAsync(removeLeftExits(kernel), { message: /EPERM/ });
});
