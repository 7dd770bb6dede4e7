import test from "ava";
import { seconds } from "../base/units.js";
import { atLeast, type Carrier, choose, reusableFor, type Stack } from "./stack.js";
import type { ProtocolOption, StackProfile } from "./wire/messages.js";

const TLS: StackProfile = [2, 1];
const TCP: StackProfile = [1];
const SCTP: StackProfile = [3];

const option = (profile: number, data: number[], more: Partial<ProtocolOption> = {}): ProtocolOption => ({
  protocol: 1,
  profile,
  doNotUse: false,
  data: Uint8Array.from(data),
  ...more,
});
const stack = (proposal: StackProfile[], options: ProtocolOption[]): Stack => ({
  proposal,
  configuration: { holdTime: seconds(30), options },
});
const PORT = [1, 0];

const CHOICES: [what: string, own: Carrier[], theirs: Stack, chosen: [Carrier, number] | undefined][] = [
  ["the one both have", ["tls"], stack([TLS], [option(0, PORT)]), ["tls", 256]],
  ["two bytes of padding after the port", ["tls"], stack([TLS], [option(0, [1, 2, 0, 0])]), ["tls", 258]],
  ["the strongest of two", ["tls", "tcp"], stack([TCP, TLS], [option(0, PORT)]), ["tls", 256]],
  [
    "the weaker one where the other is not offered",
    ["tls", "tcp"],
    stack([TCP], [option(0, PORT)]),
    ["tcp", 256],
  ],
  ["a port for each profile", ["tcp"], stack([TLS, TCP], [option(1, [0, 1]), option(2, [0, 2])]), ["tcp", 2]],
  ["what this node does not have", ["tls"], stack([TCP, SCTP], [option(0, PORT)]), undefined],
  ["no port", ["tls"], stack([TLS], []), undefined],
  ["the port of another profile", ["tls"], stack([TLS, TCP], [option(2, PORT)]), undefined],
  ["port 0", ["tls"], stack([TLS], [option(0, [0, 0])]), undefined],
  ["half a port", ["tls"], stack([TLS], [option(0, [9])]), undefined],
  ["TCP not to be used", ["tls"], stack([TLS], [option(0, PORT, { doNotUse: true })]), undefined],
  [
    "TLS not to be used",
    ["tls", "tcp"],
    stack([TLS, TCP], [option(0, PORT), option(1, [], { protocol: 2, doNotUse: true })]),
    ["tcp", 256],
  ],
];

for (const [what, own, theirs, chosen] of CHOICES)
  test(`choice: ${what}`, (t) => {
    const choice = choose(own, theirs);
    t.deepEqual(choice === undefined ? undefined : [choice.carrier, choice.port], chosen);
  });

test("an association is reused when it is one of the stacks offered and weaker than none", (t) => {
  t.deepEqual(reusableFor([TLS]), ["tls"]);
  t.deepEqual(reusableFor([TLS, TCP]), ["tls"]);
  t.deepEqual(reusableFor([TCP, TLS]), ["tls"]);
  t.deepEqual(reusableFor([TCP]), ["tcp"]);
  t.deepEqual(reusableFor([SCTP]), []);
  t.deepEqual(reusableFor(undefined), ["tls", "tcp"]);
});

test("what is no weaker", (t) => {
  t.deepEqual(atLeast("tls"), ["tls"]);
  t.deepEqual(atLeast("tcp"), ["tls", "tcp"]);
});
