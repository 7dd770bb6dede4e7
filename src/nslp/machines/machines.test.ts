import { readFileSync } from "node:fs";
import test from "ava";
import { step } from "../../base/machine.js";
import { RECEIVER_MACHINE } from "./receiver.js";
import { renderTables } from "./render.js";
import { ROUTER_MACHINE } from "./router.js";
import { SENDER_MACHINE } from "./sender.js";

test("docs/state-machines.md is what the tables say", (t) => {
  t.is(readFileSync("docs/state-machines.md", "utf8"), renderTables());
});

test("a state with a wait has an arc for its end", (t) => {
  const never = (): boolean => false;
  t.is(step(SENDER_MACHINE, "wait-permission", "no-answer", never)?.to, "idle");
  t.is(step(SENDER_MACHINE, "permission", "ttl-over", never)?.to, "idle");
  t.is(step(ROUTER_MACHINE, "wait-permission", "wait-over", never)?.to, "idle");
  t.is(step(ROUTER_MACHINE, "permission", "state-over", never)?.to, "idle");
  t.is(step(RECEIVER_MACHINE, "decide", "too-late", never)?.to, "idle");
  t.is(step(RECEIVER_MACHINE, "permission", "no-refresh", never)?.to, "idle");
});

test("an unsigned Notify ends no permission", (t) => {
  t.is(step(SENDER_MACHINE, "permission", "notified", () => true)?.to, "permission");
  t.is(step(ROUTER_MACHINE, "permission", "notified", () => true)?.to, "permission");
});

test("nothing is forwarded or granted after idle, but for a new start", (t) => {
  const answers = ["granted", "refused", "notified", "pending"] as const;
  for (const event of answers) {
    t.is(
      step(SENDER_MACHINE, "idle", event, () => true),
      undefined,
    );
    t.is(
      step(ROUTER_MACHINE, "idle", event, () => true),
      undefined,
    );
  }
});

test("a permission is enforced before anybody hears of it", (t) => {
  for (const table of [ROUTER_MACHINE, RECEIVER_MACHINE]) {
    for (const { do: actions } of table as readonly { do: readonly string[] }[]) {
      const install = actions.indexOf("install");
      const tell = actions.findIndex(
        (action) => action === "forward-permission" || action === "send-permission",
      );
      if (install >= 0 && tell >= 0) t.true(install < tell);
    }
  }
});

test("a permission is out of the packet path before a refusal is sent", (t) => {
  for (const { do: actions } of RECEIVER_MACHINE) {
    const remove = actions.indexOf("remove-permission");
    if (remove >= 0) t.true(remove < actions.indexOf("send-refusal"));
  }
});
