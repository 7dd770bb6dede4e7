/** Stack-Proposal and Stack-Configuration-Data (RFC 5971 section 5.7.1): TLS over TCP, and where allowed plain TCP. */
import type { GistContext } from "./context.js";
import {
  MA_PROTOCOL,
  type ProtocolOption,
  type StackConfiguration,
  type StackProfile,
} from "./wire/messages.js";

/** What an association runs on. */
export type Carrier = "tls" | "tcp";

export interface Stack {
  readonly proposal: readonly StackProfile[];
  readonly configuration: StackConfiguration;
}

/** Strongest first, which is also the order in which profiles are proposed. */
const STRONGEST_FIRST: readonly Carrier[] = ["tls", "tcp"];

const PROFILES: Readonly<Record<Carrier, StackProfile>> = {
  tls: [MA_PROTOCOL.tls, MA_PROTOCOL.forwardsTcp],
  tcp: [MA_PROTOCOL.forwardsTcp],
};

/** What this node offers, strongest first. */
export function offered(context: GistContext): readonly Carrier[] {
  const { transport, options } = context;
  const possible: Readonly<Record<Carrier, boolean>> = {
    tls: transport.tlsPort !== 0,
    tcp: options.stacks === "tls-and-tcp" && transport.tcpPort !== undefined,
  };
  return STRONGEST_FIRST.filter((carrier) => possible[carrier]);
}

/** A short configuration, as a Query and the first Confirm have it. */
export function ownConfiguration({ options }: GistContext): StackConfiguration {
  return { holdTime: options.holdTime, options: [] };
}

/** For a Query: what fits the needs of its messages. */
export function queryStack(context: GistContext, carriers: readonly Carrier[]): Stack {
  return {
    proposal: carriers.map((carrier) => PROFILES[carrier]),
    configuration: ownConfiguration(context),
  };
}

/** For a Response, with ports; the same whatever the Query proposed (RFC 5971 section 5.7.1). */
export function ownStack(context: GistContext): Stack {
  const carriers = offered(context);
  const port = { tls: context.transport.tlsPort, tcp: context.transport.tcpPort ?? 0 };
  const options = carriers.map((carrier, index) =>
    portOption(port[carrier], carriers.length === 1 ? ALL_PROFILES : index + 1),
  );
  return {
    proposal: carriers.map((carrier) => PROFILES[carrier]),
    configuration: { holdTime: context.options.holdTime, options },
  };
}

/** Whether a Confirm echoes just what this node proposes; anything else was changed on the way. */
export function isOwnProposal(context: GistContext, proposal: readonly StackProfile[]): boolean {
  const own = offered(context);
  return (
    proposal.length === own.length &&
    own.every((carrier, i) => sameProfile(PROFILES[carrier], proposal[i] ?? []))
  );
}

/** The strongest of the carriers that a Response offers too, and the port for it. */
export function choose(
  carriers: readonly Carrier[],
  stack: Stack,
): { readonly carrier: Carrier; readonly port: number } | undefined {
  for (const carrier of carriers) {
    const port = portOf(stack, carrier);
    if (port !== undefined) return { carrier, port };
  }
  return undefined;
}

/** What is no weaker than this. */
export function atLeast(carrier: Carrier): readonly Carrier[] {
  return STRONGEST_FIRST.slice(0, STRONGEST_FIRST.indexOf(carrier) + 1);
}

/**
 * What an association may run on that is reused for a Query: one of the stacks that it proposes, and none weaker than
 * any of them (RFC 5971 section 5.7.3). Without a proposal datagrams would do.
 */
export function reusableFor(proposal: readonly StackProfile[] | undefined): readonly Carrier[] {
  if (proposal === undefined) return STRONGEST_FIRST;
  const strongest = STRONGEST_FIRST.find((carrier) =>
    proposal.some((p) => sameProfile(p, PROFILES[carrier])),
  );
  return strongest === undefined ? [] : [strongest];
}

const ALL_PROFILES = 0;

/** Where the peer takes associations of this kind, or undefined when it offers none. */
function portOf(stack: Stack, carrier: Carrier): number | undefined {
  const protocols = PROFILES[carrier];
  const profile = stack.proposal.findIndex((p) => sameProfile(p, protocols)) + 1;
  if (profile === 0) return undefined;
  const applies = (o: ProtocolOption): boolean => o.profile === ALL_PROFILES || o.profile === profile;
  const options = stack.configuration.options.filter(applies);
  if (options.some((o) => o.doNotUse && protocols.includes(o.protocol))) return undefined;
  const tcp = options.find((o) => o.protocol === MA_PROTOCOL.forwardsTcp);
  if (tcp === undefined || tcp.data.length < 2) return undefined;
  const port = ((tcp.data[0] ?? 0) << 8) | (tcp.data[1] ?? 0);
  return port === 0 ? undefined : port;
}

/** The TCP option that tells the port. */
function portOption(port: number, profile: number): ProtocolOption {
  return {
    protocol: MA_PROTOCOL.forwardsTcp,
    profile,
    doNotUse: false,
    data: Uint8Array.of(port >> 8, port & 0xff),
  };
}

function sameProfile(a: StackProfile, b: StackProfile): boolean {
  return a.length === b.length && a.every((protocol, i) => protocol === b[i]);
}
