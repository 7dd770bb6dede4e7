/** What `peers` and `routes` show, of pbsd and gistd alike. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { Readable } from "node:stream";
import type { GistView, RoutingStateView } from "../gist/service.js";
import { checked } from "./error.js";
import { inSlices } from "./slices.js";

export interface PeersView extends GistView {
  /** Socket of the gistd that does the signalling; null where this process does it. */
  readonly service: string | null;
}

export interface GistParts {
  readonly gist: () => PeersView;
  readonly routingStates: () => Iterable<RoutingStateView>;
}

const DEFAULT_LIMIT = 1000;
const MAX_LIMIT = 100_000_000;

const limitSchema = z.strictObject({
  limit: z.coerce.number().int().min(0).max(MAX_LIMIT).default(DEFAULT_LIMIT),
});

/** GET /v1/peers and /v1/routes. */
export function addGistRoutes(app: FastifyInstance, { gist, routingStates }: GistParts): void {
  app.get("/v1/peers", () => gist());
  app.get("/v1/routes", (request, reply) => {
    const { limit } = checked(limitSchema, request.query);
    const text = routesText(routingStates(), limit);
    return reply.type("application/json; charset=utf-8").send(Readable.from(text));
  });
}

/** `{"routes": [...], "more": whether there are others}`, a piece at a time: a node may have millions. */
async function* routesText(states: Iterable<RoutingStateView>, limit: number): AsyncGenerator<string> {
  let count = 0;
  yield '{"routes":[';
  for await (const state of inSlices(states)) {
    if (count === limit) {
      yield '],"more":true}';
      return;
    }
    yield `${count === 0 ? "" : ","}${JSON.stringify(state)}`;
    count++;
  }
  yield '],"more":false}';
}
