/** All that this host drops because of an attack: sources, and places off the paths of single flows. */
import { flowKey } from "../base/flow.js";
import type { Milliseconds } from "../base/units.js";
import type { PlaceBlocker } from "./place-block.js";
import type { SourceBlocker } from "./source-block.js";

/** One line of `pbsctl blocks`. */
export interface BlockView {
  /** The source's address; "p1" for a place. */
  readonly id: string;
  readonly type: "source" | "place";
  readonly source: string;
  /** Of a place, as are the next two. */
  readonly flow: string | null;
  readonly interface: string | null;
  /** Hardware address; null: every one. */
  readonly address: string | null;
  readonly remaining: Milliseconds;
}

export interface Blocks {
  /** Rejects with a FirewallError. */
  list(): Promise<readonly BlockView[]>;
  /** Ends a block. Resolves to whether there was one. Rejects with a FirewallError. */
  unblock(id: string): Promise<boolean>;
}

export class AllBlocks implements Blocks {
  readonly #sources: SourceBlocker;
  readonly #places: PlaceBlocker;

  constructor(sources: SourceBlocker, places: PlaceBlocker) {
    this.#sources = sources;
    this.#places = places;
  }

  async list(): Promise<readonly BlockView[]> {
    const sources = (await this.#sources.list()).map(({ source, remaining }): BlockView => {
      const whole = { flow: null, interface: null, address: null };
      return { id: source.toString(), type: "source", source: source.toString(), ...whole, remaining };
    });
    const places = this.#places
      .list()
      .map(({ id, flow, interface: name, address = null, remaining }): BlockView => ({
        id,
        type: "place",
        source: flow.source.toString(),
        flow: flowKey(flow),
        interface: name,
        address,
        remaining,
      }));
    return [...sources, ...places];
  }

  async unblock(id: string): Promise<boolean> {
    const source = (await this.#sources.list()).find((one) => one.source.toString() === id)?.source;
    if (source === undefined) return this.#places.unblock(id);
    await this.#sources.unblock(source);
    return true;
  }
}
