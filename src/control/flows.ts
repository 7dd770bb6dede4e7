/** The list of flows as a JSON document that is written while it is made: a million flows fit nowhere at once. */
import type { FlowView, Role } from "../nslp/view.js";
import { inSlices } from "./slices.js";

export interface FlowFilter {
  readonly role?: Role | undefined;
  readonly state?: string | undefined;
  /** Part of the flow's text, such as an address. */
  readonly match?: string | undefined;
}

export interface Page extends FlowFilter {
  readonly limit: number;
  readonly offset: number;
}

/** What the document holds. `total`: flows that fit the filter. */
export interface FlowList {
  readonly flows: readonly FlowView[];
  readonly offset: number;
  readonly total: number;
}

const CHUNK = 32 * 1024;

/** The text of a {@link FlowList}, in pieces. */
export async function* flowListText(flows: Iterable<FlowView>, page: Page): AsyncGenerator<string> {
  let chunk = '{"flows":[';
  let total = 0;
  let written = 0;
  for await (const view of inSlices(flows)) {
    if (!fits(view, page)) continue;
    if (total++ < page.offset || written === page.limit) continue;
    chunk += (written++ === 0 ? "" : ",") + JSON.stringify(view);
    if (chunk.length < CHUNK) continue;
    yield chunk;
    chunk = "";
  }
  yield `${chunk}],"offset":${page.offset},"total":${total}}`;
}

function fits(view: FlowView, { role, state, match }: FlowFilter): boolean {
  if (role !== undefined && view.role !== role) return false;
  if (state !== undefined && view.state !== state) return false;
  return match === undefined || view.flow.includes(match);
}
