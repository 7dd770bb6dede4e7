/** Two nodes beside each other: where most tests begin. */
import type { GistOptions } from "../options.js";
import { decodeGist, encodeGist } from "../wire/codec.js";
import type { GistMessage, Mri, SessionId } from "../wire/messages.js";
import { flowMri, MemoryNetwork, type NodeSetting, type TestNode } from "./network.js";

export const A = "10.0.0.1";
export const B = "10.0.0.2";
export const C = "10.0.0.3";
export const D = "10.0.0.4";

export interface Pair {
  readonly network: MemoryNetwork;
  readonly a: TestNode;
  readonly b: TestNode;
  readonly mri: Mri;
}

/** The same settings for both, or none. */
export function two(options: Partial<GistOptions> = {}, more: NodeSetting = {}): Pair {
  const network = new MemoryNetwork();
  const a = network.addNode(A, options, more);
  return { network, a, b: network.addNode(B, options, more), mri: flowMri(A, B) };
}

/** Two nodes with an association and one session that runs. */
export async function talking(
  options: Partial<GistOptions> = {},
  more: NodeSetting = {},
): Promise<Pair & { readonly session: SessionId }> {
  const pair = two(options, more);
  const session = pair.network.newSession();
  pair.a.send(session, pair.mri, "one");
  await pair.network.run(500);
  return { ...pair, session };
}

/** Changes a message on its way. */
export function changed(bytes: Uint8Array, change: (message: GistMessage) => GistMessage): Uint8Array {
  return encodeGist(change(decodeGist(bytes)));
}
