/** Stack-Proposal and Stack-Configuration-Data (RFC 5971 section 5.7.1): TLS over TCP or nothing. */
import { STACK_PROPOSAL, TLS_OVER_TCP } from "./context.js";
import {
  MA_PROTOCOL,
  type ProtocolOption,
  type StackConfiguration,
  type StackProfile,
} from "./wire/messages.js";

interface Stack {
  readonly proposal: readonly StackProfile[];
  readonly configuration: StackConfiguration;
}

/** Where the peer takes TLS associations, or undefined when it offers none. */
export function tlsPort(stack: Stack): number | undefined {
  const profile = stack.proposal.findIndex((p) => sameProfile(p, TLS_OVER_TCP)) + 1;
  if (profile === 0) return undefined;
  const applies = (o: ProtocolOption): boolean => o.profile === 0 || o.profile === profile;
  const options = stack.configuration.options.filter(applies);
  if (options.some((o) => o.doNotUse && TLS_OVER_TCP.includes(o.protocol))) return undefined;
  const tcp = options.find((o) => o.protocol === MA_PROTOCOL.forwardsTcp);
  if (tcp === undefined || tcp.data.length < 2) return undefined;
  const port = ((tcp.data[0] ?? 0) << 8) | (tcp.data[1] ?? 0);
  return port === 0 ? undefined : port;
}

/** The TCP option that tells the port, for a Response. */
export function portOption(port: number): ProtocolOption {
  return {
    protocol: MA_PROTOCOL.forwardsTcp,
    profile: 0,
    doNotUse: false,
    data: Uint8Array.of(port >> 8, port & 0xff),
  };
}

/** Whether a Confirm echoes just what this node proposes; anything else was changed on the way. */
export function isOwnProposal(proposal: readonly StackProfile[]): boolean {
  return (
    proposal.length === STACK_PROPOSAL.length &&
    proposal.every((p, i) => sameProfile(p, STACK_PROPOSAL[i] ?? []))
  );
}

function sameProfile(a: StackProfile, b: StackProfile): boolean {
  return a.length === b.length && a.every((protocol, i) => protocol === b[i]);
}
