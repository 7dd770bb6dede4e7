/** Whether a Query agrees with the packet it came in (RFC 5971 sections 5.3.2, 5.8 and 7.2). */
import { type Complaint, OBJECT, objectComplaint } from "./errors.js";
import type { Datagram } from "./transport/transport.js";
import { ERROR_CODE, MRI_ERROR } from "./wire/codec.js";
import type { GistQuery, Mri } from "./wire/messages.js";

/** A Query that is not to be followed. Without `complaint` its sender is not told. */
export interface Objection {
  readonly counter: string;
  readonly complaint?: Complaint;
}

/** An upstream Query leaves with IP TTL 255; who is farther away than one router may not send one. */
const LEAST_UPSTREAM_TTL = 254;

export function objectionTo(query: GistQuery, datagram: Datagram): Objection | undefined {
  const { mri, nli } = query;
  const [target, origin] = ends(mri);
  if (
    target.address.family !== datagram.destination.family ||
    nli.interfaceAddress.family !== target.address.family
  )
    return {
      counter: "refused.ip-version",
      complaint: { code: ERROR_CODE.mriValidation, subcode: MRI_ERROR.ipVersion },
    };
  if (!target.single)
    return {
      counter: "refused.mri-too-wild",
      complaint: { code: ERROR_CODE.mriValidation, subcode: MRI_ERROR.tooWild },
    };
  if (!target.address.equals(datagram.destination)) return { counter: "refused.not-on-path" };
  if (mri.direction === "upstream" && datagram.ipTtl !== 0 && datagram.ipTtl < LEAST_UPSTREAM_TTL)
    return { counter: "refused.ip-ttl", complaint: { code: ERROR_CODE.invalidIpTtl } };
  if (query.signallingSource)
    return datagram.source.equals(nli.interfaceAddress)
      ? undefined
      : {
          counter: "refused.nat",
          complaint: objectComplaint(
            "untranslated",
            OBJECT.nli,
            "the Query's source address is not its Interface-Address: there is a NAT on the path",
          ),
        };
  if (origin.single && !origin.address.equals(datagram.source)) return { counter: "refused.source" };
  return undefined;
}

/** IP hops between the querying node and here, where both ends of the count are known. */
export function ipDistance(query: GistQuery, datagram: Datagram): number | undefined {
  if (query.nli.ipTtl === 0 || datagram.ipTtl === 0) return undefined;
  const distance = query.nli.ipTtl - datagram.ipTtl;
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
