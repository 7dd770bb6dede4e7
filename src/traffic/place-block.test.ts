import test from "ava";
import { parseFlow } from "../base/flow.js";
import { silentLogger } from "../base/log.js";
import { FakeTime } from "../base/time.js";
import { ms, seconds } from "../base/units.js";
import { FirewallError } from "./command.js";
import { MOST_PLACES, type PlaceBlock, PlaceBlocker, placeRules } from "./place-block.js";

const UDP = parseFlow("udp 192.168.20.1:4000 > 192.168.21.4:9000");
const BLOCK: PlaceBlock = { flow: UDP, interface: "eth1", authenticated: false };
const ADDRESS = "02:00:00:00:00:02";
const DROP = "-m comment --comment pbs:drop.off-path -j DROP";

/** A blocker whose rules are kept here, as text. */
function fake(fails: () => boolean = () => false) {
  const time = new FakeTime();
  const rules: string[] = [];
  const blocker = new PlaceBlocker(time, silentLogger, async (family, lines) => {
    await Promise.resolve();
    if (fails()) throw new FirewallError("no", "none");
    for (const line of lines) {
      const rule = `${family} ${line.slice(3)}`;
      if (line.startsWith("-A")) rules.push(rule);
      else rules.splice(rules.indexOf(rule), 1);
    }
  });
  return { time, rules, blocker };
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

test("rules name the flow and the place, never a source alone", (t) => {
  t.deepEqual(placeRules(BLOCK), [
    `-i eth1 -s 192.168.20.1 -d 192.168.21.4 -p 17 -m udp --sport 4000 --dport 9000 ${DROP}`,
  ]);
  t.deepEqual(placeRules({ ...BLOCK, address: ADDRESS, authenticated: true }), [
    `-i eth1 -m mac --mac-source ${ADDRESS} -s 192.168.20.1 -d 192.168.21.4 -p 17 -m udp --sport 4000 --dport 9000 ${DROP}`,
    `-i eth1 -m mac --mac-source ${ADDRESS} -s 192.168.20.1 -d 192.168.21.4 -p ah ${DROP}`,
  ]);
  const six = parseFlow("icmpv6 fd20::1 > fd21::4");
  t.deepEqual(placeRules({ flow: six, interface: "eth1", authenticated: true }), [
    `-i eth1 -s fd20::1 -d fd21::4 -p 58 ${DROP}`,
    `-i eth1 -s fd20::1 -d fd21::4 -m u32 --u32 "3&0xFF=51" ${DROP}`,
  ]);
});

test("what could be read as more than a name is refused", (t) => {
  for (const name of ["", "eth1 -j ACCEPT", "eth1\n-F", "a".repeat(16)])
    t.throws(() => placeRules({ ...BLOCK, interface: name }), { instanceOf: FirewallError });
  t.throws(() => placeRules({ ...BLOCK, address: "02:00" }), { instanceOf: FirewallError });
});

test("a block is listed, prolonged, and ends by itself", async (t) => {
  const { time, rules, blocker } = fake();
  await blocker.block(BLOCK, seconds(10));
  time.advance(seconds(6));
  await blocker.block(BLOCK, seconds(10));
  t.is(rules.length, 1);
  t.deepEqual(blocker.list(), [{ ...BLOCK, id: "p1", remaining: seconds(10) }]);
  t.deepEqual(blocker.blocked(UDP), [BLOCK]);
  time.advance(ms(9999));
  await settled();
  t.is(rules.length, 1);
  time.advance(ms(1));
  await settled();
  t.deepEqual([rules, blocker.list(), time.pending], [[], [], 0]);
});

test("by hand, or all of a flow", async (t) => {
  const { rules, blocker } = fake();
  const other = { ...BLOCK, flow: parseFlow("udp 192.168.20.1:4001 > 192.168.21.4:9000") };
  await Promise.all(
    [BLOCK, { ...BLOCK, address: ADDRESS }, other].map((one) => blocker.block(one, seconds(10))),
  );
  t.is(rules.length, 3);
  t.true(await blocker.unblock("p3"));
  t.false(await blocker.unblock("p3"));
  await blocker.lift(UDP);
  t.deepEqual([rules, blocker.list()], [[], []]);
  blocker.stop();
});

test("so many and no more; what the kernel did not take is not listed", async (t) => {
  let failing = true;
  const { blocker } = fake(() => failing);
  await t.throwsAsync(blocker.block(BLOCK, seconds(10)), { message: "no; none" });
  t.deepEqual(blocker.list(), []);
  failing = false;
  for (let i = 0; i < MOST_PLACES; i++) await blocker.block({ ...BLOCK, interface: `eth${i}` }, seconds(10));
  await t.throwsAsync(blocker.block({ ...BLOCK, interface: "more" }, seconds(10)), {
    message: /64 places are blocked already/,
  });
  blocker.stop();
});
