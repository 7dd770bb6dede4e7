/** A flow gives way to one from another source address, which takes over what was left of its permission. */
import test from "ava";
import { flowKey, parseFlow } from "../base/flow.js";
import { bytes, ms, seconds } from "../base/units.js";
import {
  ADDRESSES,
  ask,
  EVERYWHERE,
  FLOW,
  Line,
  makeCredentials,
  OTHER_ADDRESS,
  permitted,
  traffic,
} from "./testing/line.js";

const credentials = makeCredentials();
const PATH = `source ${OTHER_ADDRESS}`;
const SUCCESSOR = parseFlow(`tcp ${OTHER_ADDRESS}:4100 > ${ADDRESSES.receiver}:80`);
const STRANGER = parseFlow(`tcp ${OTHER_ADDRESS}:4101 > ${ADDRESSES.receiver}:81`);

async function lineWithSources(): Promise<Line> {
  const line = new Line(credentials, {}, [PATH]);
  line.paths.sources.set(PATH, SUCCESSOR.source);
  return line;
}

/** The path of the first source goes dark, and stays so. */
async function goDark(line: Line): Promise<void> {
  line.tamper = (message) => (message.mri.source.equals(FLOW.source) ? [] : [message]);
  await line.pass(seconds(120));
}

test("the flow ends and its application hears of it; a new one gets the permission, and the old state goes", async (t) => {
  const line = await lineWithSources();
  await ask(line);
  traffic(line, 4000);
  await goDark(line);
  t.false(permitted(line, "sender"));
  t.is(line.datapath("sender").refused.length, 1);
  t.deepEqual(line.paths.ended, [flowKey(FLOW)]);
  t.regex(
    line
      .events("sender")
      .map(({ detail }) => detail)
      .join("\n"),
    /gives way to new flows by source/,
  );
  t.true(permitted(line, "receiver"), "nothing reaches the receiver");
  line.datapath("sender").want(SUCCESSOR);
  await line.until(() => EVERYWHERE.every((place) => permitted(line, place, SUCCESSOR)), "the new flow");
  await line.settle();
  t.false(permitted(line, "receiver"));
  t.is(line.node("receiver").counters()["succession.taken"], 1);
  t.is(line.flows("receiver").length, 1);
});

test("what was granted once is not granted again: the rest of it is", async (t) => {
  const line = await lineWithSources();
  line.decision = {
    type: "grant",
    rule: "once",
    grant: { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(60), extend: false },
  };
  await ask(line);
  traffic(line, 4000);
  await goDark(line);
  line.datapath("sender").want(SUCCESSOR);
  await line.until(() => permitted(line, "sender", SUCCESSOR), "the new flow");
  t.is(line.flows("receiver")[0]?.allowedVolume, bytes(6000));
});

test("who was granted by a person need not ask again", async (t) => {
  const line = await lineWithSources();
  const grant = { volume: bytes(10_000), lifetime: seconds(600), refresh: seconds(60), extend: true };
  line.decision = { type: "ask", rule: "by hand", grant, timeout: seconds(60) };
  line.datapath("sender").want(FLOW);
  await line.until(() => line.node("receiver").pending().length === 1, "the question");
  await line.node("receiver").grant(line.node("receiver").pending()[0]?.id ?? "", {});
  await line.until(() => permitted(line, "sender"), "the grant");
  await goDark(line);
  line.datapath("sender").want(SUCCESSOR);
  await line.until(() => permitted(line, "sender", SUCCESSOR), "the new flow");
  t.is(line.node("receiver").pending().length, 0);
  line.datapath("sender").want(STRANGER);
  await line.until(() => line.node("receiver").pending().length === 1, "a flow to another port has to ask");
});

test("one that gave way is taken over once, within a minute, and by a flow to the same place", async (t) => {
  const line = await lineWithSources();
  await ask(line);
  await goDark(line);
  await line.pass(ms(61_000));
  line.datapath("sender").want(SUCCESSOR);
  await line.until(() => permitted(line, "sender", SUCCESSOR), "the new flow");
  t.is(line.node("receiver").counters()["succession.taken"], undefined);
});

test("after a time new flows get the first source again", async (t) => {
  const line = await lineWithSources();
  await ask(line);
  await goDark(line);
  t.false(line.paths.calls.includes("undo source"));
  await line.pass(seconds(760), seconds(10));
  t.is(line.paths.calls.filter((call) => call === "undo source").length, 1);
});

test("a session of somebody else, or of another flow, is not taken over", async (t) => {
  const line = await lineWithSources();
  await ask(line);
  const before = line.flows("receiver")[0]?.id;
  // Names the session that still stands, as a liar would.
  await goDark(line);
  line.tamper = (message) => [message];
  line.datapath("sender").want(STRANGER);
  await line.until(() => permitted(line, "sender", STRANGER), "the other flow");
  t.true(
    line.flows("receiver").some(({ id }) => id === before),
    "the old one stands beside it",
  );
});
