/** Whether a Query agrees with the packet it came in (RFC 5971 sections 5.3.2, 5.8 and 7.2). */
import { fault, mriFault, objectFault } from "./errors.js";
import type { Datagram } from "./transport/transport.js";
import { ERROR_CODE, type GistFault } from "./wire/codec.js";
import type { GistData, GistQuery, Mri, NetworkLayerInformation } from "./wire/messages.js";

/** What travels in Query mode. */
export type QueryModeMessage = GistQuery | (GistData & { readonly nli: NetworkLayerInformation });

/** A message that is not to be followed. Without `fault` its sender is not told. */
export interface Objection {
  readonly counter: string;
  readonly fault?: GistFault;
  /** The NLI is no address that can be reached from here: the sender is told where the packet came from. */
  readonly throughNat?: true;
}

/** An upstream Query leaves with IP TTL 255; who is farther away than one router may not send one. */
const LEAST_UPSTREAM_TTL = 254;

export function objectionTo(message: QueryModeMessage, datagram: Datagram): Objection | undefined {
  const { mri, nli } = message;
  const [target] = ends(mri);
  if (
    target.address.family !== datagram.destination.family ||
    nli.interfaceAddress.family !== target.address.family
  )
    return {
      counter: "refused.ip-version",
      fault: mriFault("ipVersion", "the packet has another IP version", mri, datagram.message),
    };
  if (!target.single)
    return {
      counter: "refused.mri-too-wild",
      fault: mriFault("tooWild", "a path leads to one address", mri, datagram.message),
    };
  if (!target.address.equals(datagram.destination)) return { counter: "refused.not-on-path" };
  if (mri.direction === "upstream") {
    const objection = objectionToUpstream(message, datagram);
    if (objection !== undefined) return objection;
  }
  return message.signallingSource ? natObjection(message, datagram) : sourceObjection(message, datagram);
}

function objectionToUpstream(
  { mri, signallingSource }: QueryModeMessage,
  { ipTtl }: Datagram,
): Objection | undefined {
  if (mri.method === "loose-end") return { counter: "refused.loose-end-upstream" };
  if (!signallingSource) return { counter: "refused.source" };
  if (ipTtl === 0 || ipTtl >= LEAST_UPSTREAM_TTL) return undefined;
  return { counter: "refused.ip-ttl", fault: fault(ERROR_CODE.invalidIpTtl) };
}

/** RFC 5971 section 7.2.1: a NAT that knows no GIST, with this node on its outer side. */
function natObjection({ nli, natTraversal }: QueryModeMessage, { source }: Datagram): Objection | undefined {
  if (natTraversal !== undefined || source.equals(nli.interfaceAddress)) return undefined;
  const detail = "the source address is not the Interface-Address: there is a NAT on the path";
  return { counter: "refused.nat", fault: objectFault("untranslated", "mri", detail), throughNat: true };
}

/** S = 0: the packet bears the source of the flow. */
function sourceObjection({ mri }: QueryModeMessage, { source }: Datagram): Objection | undefined {
  const [, origin] = ends(mri);
  return origin.single && !origin.address.equals(source) ? { counter: "refused.source" } : undefined;
}

/** IP hops between the querying node and here, where both ends of the count are known. */
export function ipDistance({ nli }: QueryModeMessage, datagram: Datagram): number | undefined {
  if (nli.ipTtl === 0 || datagram.ipTtl === 0) return undefined;
  const distance = nli.ipTtl - datagram.ipTtl;
  return distance >= 0 ? distance : undefined;
}

interface End {
  readonly address: Mri["source"];
  /** One host, not a prefix. */
  readonly single: boolean;
}

/** Where the Query goes to and where it comes from. */
function ends(mri: Mri): [target: End, origin: End] {
  const bits = (address: Mri["source"]): number => address.bytes.length * 8;
  const loose = mri.method === "loose-end";
  const source = { address: mri.source, single: loose || mri.sourcePrefix === bits(mri.source) };
  const destination = {
    address: mri.destination,
    single: loose || mri.destinationPrefix === bits(mri.destination),
  };
  return mri.direction === "downstream" ? [destination, source] : [source, destination];
}
