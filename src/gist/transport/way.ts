/**
 * What decides by which way a flow's packets leave. Policy rules and paths of equal cost look at more of a packet than
 * its destination, so a question about the way tells all that is known.
 */
import type { IpAddress } from "../../base/address.js";
import { PROTOCOL } from "../../base/flow.js";
import type { Mri } from "../wire/messages.js";

const ICMP = { 4: 1, 6: 58 } as const;

/** A packet whose way is asked for. What is not known is left out. */
export interface Question {
  readonly target: IpAddress;
  readonly source?: IpAddress | undefined;
  /** IP protocol; only those that the kernel takes in a question: TCP, UDP and ICMP. */
  readonly protocol?: number | undefined;
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
  /** 6-bit DS field. */
  readonly dscp?: number | undefined;
  /** Index of the interface over which it came to be forwarded; the packet is this host's own where it is left out. */
  readonly inbound?: number | undefined;
  /** Of the packet, by which the kernel's rules know the path of a flow that was moved. */
  readonly mark?: number | undefined;
  /** Index of the interface by which it has to leave. */
  readonly outbound?: number | undefined;
}

/** Where the flow's packets go in the direction of signalling: the target of route look-up and Query mode. */
export function towards(mri: Mri): IpAddress {
  return mri.direction === "downstream" ? mri.destination : mri.source;
}

/** A packet in the direction of signalling: of the flow itself downstream, of its return traffic upstream. */
export function questionOf(mri: Mri): Question {
  const downstream = mri.direction === "downstream";
  const target = towards(mri);
  const sender = downstream ? mri.source : mri.destination;
  const source = sender.family !== target.family || sender.isUnspecified ? undefined : sender;
  if (mri.method !== "path-coupled") return { target, source };
  const { dscp, protocol } = mri;
  if (protocol === undefined) return { target, source, dscp };
  if (protocol === ICMP[target.family]) return { target, source, dscp, protocol };
  if (protocol !== PROTOCOL.udp && protocol !== PROTOCOL.tcp) return { target, source, dscp };
  const [from, to] = downstream
    ? [mri.sourcePort, mri.destinationPort]
    : [mri.destinationPort, mri.sourcePort];
  // A port of 0 is one that is not known yet.
  return { target, source, dscp, protocol, sourcePort: from || undefined, destinationPort: to || undefined };
}

/** The question as a key: two with the same key have the same answer. */
export function questionKey(question: Question): string {
  const { target, source, protocol, sourcePort, destinationPort, dscp, mark, inbound, outbound } = question;
  const flow = `${protocol ?? ""},${sourcePort ?? ""},${destinationPort ?? ""},${dscp ?? ""}`;
  return `${target},${source ?? ""},${flow},${mark ?? ""},${inbound ?? ""},${outbound ?? ""}`;
}

/** The flow's way as a key: two MRIs with the same key leave by the same route. */
export function wayKey(mri: Mri): string {
  return questionKey(questionOf(mri));
}
