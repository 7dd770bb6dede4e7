import test from "ava";
import { pbsctl } from "./ctl.js";

async function run(...args: string[]): Promise<{ status: number; error: string }> {
  let error = "";
  const status = await pbsctl(["load", ...args], {
    write: () => Promise.resolve(),
    error: (text) => {
      error += text;
    },
  });
  return { status, error };
}

const WRONG: readonly (readonly [args: readonly string[], says: RegExp])[] = [
  [["--flows", "0"], /--flows is at least 1/],
  [["--flows", "1000001"], /up to 1000000/],
  [["--rate", "-1"], /--rate/],
  [["--rate", "0"], /not a rate above 0/],
  [["--arrival", "bursts"], /neither constant nor poisson/],
  [["--churn", "101"], /not a number of percent/],
  [["--hold", "soon"], /--hold: /],
  [["--keys", "dsa"], /not one of: p256, rsa2048, ed25519/],
  [["--router-core", "first"], /list of cores/],
  [["--to", "example.net"], /--to: /],
  [["--to", "127.0.0.1"], /--authority is missing/],
  [["--to", "127.0.0.1", "--authority", "ca.pem"], /--identity is missing/],
  [["--to", "127.0.0.1", "--revoke", "10"], /not with --to/],
];

for (const [args, says] of WRONG)
  test(`load ${args.join(" ")} is wrong usage`, async (t) => {
    const { status, error } = await run(...args);
    t.is(status, 2);
    t.regex(error, says);
  });
