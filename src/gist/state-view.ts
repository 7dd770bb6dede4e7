/** Routing state as people are shown it. */
import { protocolName } from "../base/flow.js";
import { type Milliseconds, ms } from "../base/units.js";
import { QueryingState } from "./querying.js";
import { endOf, type Rest } from "./resting.js";
import type { RoutingStateView } from "./service.js";
import type { RoutingState } from "./sessions.js";
import type { Mri } from "./wire/messages.js";

export function stateView(state: RoutingState, now: Milliseconds): RoutingStateView {
  const { expiresAt } = state;
  return {
    role: state instanceof QueryingState ? "querying" : "responding",
    nslpId: state.nslpId,
    sessionId: state.sessionId,
    mri: mriText(state.mri),
    state: state.state,
    peer: state.peerAddress?.toString() ?? "",
    peerIdentity: state.peerIdentity ?? "",
    carriedBy: state.association?.carrier ?? "datagram",
    expiresIn: expiresAt === undefined ? null : ms(Math.max(0, expiresAt - now)),
  };
}

/** The same of one at rest. */
export function restView(rest: Rest, now: Milliseconds): RoutingStateView {
  const { kind, nslpId, sessionId, mri, peer, association } = rest;
  return {
    role: kind,
    nslpId,
    sessionId,
    mri: mriText(mri),
    state: "established",
    peer: peer.address.toString(),
    peerIdentity: peer.identity,
    carriedBy: association.carrier,
    expiresIn: ms(Math.max(0, endOf(rest) - now)),
  };
}

/** "downstream 192.168.20.1 > 192.168.21.4 tcp 4000 > 80"; prefixes, SPI, DSCP and flow label where they are given. */
export function mriText(mri: Mri): string {
  if (mri.method === "loose-end") return `${mri.direction} loose-end ${mri.source} > ${mri.destination}`;
  const bits = mri.source.bytes.length * 8;
  const end = (address: string, prefix: number): string =>
    prefix === bits ? address : `${address}/${prefix}`;
  const parts = [
    mri.direction,
    end(mri.source.toString(), mri.sourcePrefix),
    ">",
    end(mri.destination.toString(), mri.destinationPrefix),
  ];
  if (mri.protocol !== undefined) parts.push(protocolName(mri.protocol));
  if (mri.sourcePort !== undefined || mri.destinationPort !== undefined)
    parts.push(`${mri.sourcePort ?? "*"} > ${mri.destinationPort ?? "*"}`);
  if (mri.spi !== undefined) parts.push(`spi ${mri.spi}`);
  if (mri.dscp !== undefined) parts.push(`dscp ${mri.dscp}`);
  if (mri.flowLabel !== undefined) parts.push(`label ${mri.flowLabel}`);
  return parts.join(" ");
}
