/** What the sessions ask of routes and filters; the composition root says who does it. */
import type { IpAddress } from "../base/address.js";
import type { Flow } from "../base/flow.js";
import type { Milliseconds } from "../base/units.js";

export interface Path {
  /** For people, such as "via 192.168.30.3 dev eth1". */
  readonly name: string;
  /** It is for new flows like this one, which have this source. */
  readonly source?: IpAddress;
}

export interface PathChanger {
  /** Whether {@link next} has a path to move this flow to, as of now. Does not reject. */
  hasNext(flow: Flow): Promise<boolean>;
  /**
   * Moves this flow alone, its signalling included, to its next path in order. undefined: the last one is in use, and the flow
   * stays there until {@link undo}. A path with a source moves nothing but new flows. Rejects when the kernel refuses.
   * @param beforeSource called before the first new flow can have another source
   */
  next(flow: Flow, beforeSource?: () => void): Promise<Path | undefined>;
  /** Back to the path that the routing table gives; nothing where it is there already. Rejects when the kernel refuses. */
  undo(flow: Flow): Promise<void>;
  /** New flows like this one have the source that the routing table gives. Rejects when the kernel refuses. */
  undoSource(flow: Flow): Promise<void>;
}

export interface ConnectionEnder {
  /** A program of this host that has a TCP connection of this flow hears at once that it is over. Does not reject. */
  end(flow: Flow): Promise<unknown>;
}

/** Packets of one flow that come in by one interface, or there from one hardware address. */
export interface PlaceBlock {
  readonly flow: Flow;
  readonly interface: string;
  /** Absent: whatever it is. */
  readonly address?: string;
  /** The flow's packets carry AH: then all AH between its two hosts that comes in there is meant, too. */
  readonly authenticated: boolean;
}

export interface PlaceBlocker {
  /** Drops them for so long from now. Rejects when the kernel refuses, or so many are blocked. */
  block(block: PlaceBlock, duration: Milliseconds): Promise<void>;
  /** Of this flow. */
  blocked(flow: Flow): readonly PlaceBlock[];
  /** Ends all blocks of this flow. Rejects when the kernel refuses. */
  lift(flow: Flow): Promise<void>;
}

export interface SourceBlocker {
  /** Drops all packets from this address for so long from now. Rejects when the kernel refuses. */
  block(source: IpAddress, duration: Milliseconds): Promise<void>;
}
