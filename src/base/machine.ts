/**
 * State machines as data. A table lists what a machine does; `step` looks one arc up. The tables are also what the
 * documentation of the machines is printed from, so nothing may decide a transition outside of them.
 */

/** One transition: in state `from`, when event `on` comes and guard `when` holds, do `do` in order and go to `to`. */
export interface Arc<S extends string, E extends string, G extends string, A extends string> {
  /** One state or several that share the arc. */
  readonly from: S | readonly S[];
  readonly on: E;
  /** No guard: always. */
  readonly when?: G;
  readonly do: readonly A[];
  readonly to: S;
  /** For the documentation: source of the arc, or why it is there. */
  readonly note?: string;
}

/** The first arc that matches wins, so an arc without guard stands after its guarded siblings. */
export type Table<S extends string, E extends string, G extends string, A extends string> = readonly Arc<
  S,
  E,
  G,
  A
>[];

/**
 * The arc to follow, or undefined where the table has none: then the event means nothing in that state. `holds` is
 * asked only for guards of arcs whose state and event match.
 */
export function step<S extends string, E extends string, G extends string, A extends string>(
  table: Table<S, E, G, A>,
  state: S,
  event: E,
  holds: (guard: G) => boolean,
): Arc<S, E, G, A> | undefined {
  for (const arc of table) {
    if (arc.on !== event || !leaves(arc.from, state)) continue;
    if (arc.when === undefined || holds(arc.when)) return arc;
  }
  return undefined;
}

function leaves<S extends string>(from: S | readonly S[], state: S): boolean {
  return typeof from === "string" ? from === state : from.includes(state);
}
