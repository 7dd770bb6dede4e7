/** A flow as GIST's message routing information, and back (docs/protocol.md). */
import { type Flow, hasPorts } from "../base/flow.js";
import type { Direction, Mri, Mutable, PathCoupledMri } from "../gist/wire/messages.js";

export function mriOf(flow: Flow, direction: Direction): PathCoupledMri {
  if (flow !== last.flow || direction !== last.mri?.direction) {
    last.mri = newMri(flow, direction);
    last.flow = flow;
  }
  return last.mri;
}

/** GIST is told several things of a flow at a time, and knows the same object again. */
const last: { flow?: Flow; mri?: PathCoupledMri } = {};

function newMri(flow: Flow, direction: Direction): PathCoupledMri {
  const bits = flow.source.bytes.length * 8;
  const mri: Mutable<PathCoupledMri> = {
    method: "path-coupled",
    direction,
    source: flow.source,
    destination: flow.destination,
    sourcePrefix: bits,
    destinationPrefix: bits,
    protocol: flow.protocol,
  };
  if (hasPorts(flow.protocol)) {
    mri.sourcePort = flow.sourcePort;
    mri.destinationPort = flow.destinationPort;
  }
  return mri;
}

/** The one flow that an MRI names; undefined when it names more than one, or less. */
export function flowOf(mri: Mri): Flow | undefined {
  if (mri.method !== "path-coupled" || mri.protocol === undefined) return undefined;
  const bits = mri.source.bytes.length * 8;
  if (mri.sourcePrefix !== bits || mri.destinationPrefix !== bits || mri.spi !== undefined) return undefined;
  const ports = hasPorts(mri.protocol);
  if (ports !== (mri.sourcePort !== undefined && mri.destinationPort !== undefined)) return undefined;
  return {
    protocol: mri.protocol,
    source: mri.source,
    destination: mri.destination,
    sourcePort: mri.sourcePort ?? 0,
    destinationPort: mri.destinationPort ?? 0,
  };
}
