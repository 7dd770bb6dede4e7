/** Flows that cross this node, as far as their volumes are compared here; crossing.ts does it. */
import type { Fresh } from "../authorization/detection.js";
import type { Flow } from "../base/flow.js";
import type { Bytes } from "../base/units.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { AssociationName } from "./demand.js";
import type { Told } from "./readings.js";
import type { DetectionView } from "./view.js";

/** What a router's session knows of its flow. */
export interface Crossing {
  readonly id: SessionId;
  readonly flow: Flow;
  readonly role: "router";
  readonly epoch: number;
  readonly association: AssociationName | undefined;
  readonly allowedVolume: Bytes;
}

export interface Crossings {
  /**
   * A Query passes.
   * @param by interface by which GIST's Query for the flow had come; empty: not known
   */
  query(flow: Crossing, query: Told, by: string): void;
  /** A Permission with this Message-Seq goes on. */
  told(id: SessionId, sequence: number): void;
  /** The packet path counts anew; `fresh`, where nothing of an earlier association counts from now on. */
  begin(flow: Crossing, start: Bytes, fresh: Fresh | undefined): void;
  /** The flow is over, or no longer worth it. */
  end(id: SessionId): void;
  /** null: it is not compared. */
  view(id: SessionId): DetectionView | null;
  stop(): void;
}
