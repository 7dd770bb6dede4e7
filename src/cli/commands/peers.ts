import { formatDuration } from "../../config/quantity.js";
import type { PeersView } from "../../control/peers.js";
import type { AssociationView, RoutingStateView } from "../../gist/service.js";
import { type Command, type Context, show } from "../command.js";
import { counterLines } from "../counter-lines.js";
import { numberOf, type Parsed } from "../errors.js";
import { type Column, fields, table } from "../table.js";

const COLUMNS: readonly Column<AssociationView>[] = [
  { title: "PEER", value: ({ subject }) => subject || "-" },
  { title: "IDENTITY", value: ({ peerIdentity }) => peerIdentity.slice(0, 16) },
  { title: "ADDRESS", value: ({ address }) => address },
  { title: "PROTOCOL", value: ({ protocol }) => protocol },
  { title: "STATE", value: ({ state }) => state },
  { title: "OPENED BY", value: ({ initiator }) => (initiator ? "this node" : "peer") },
  { title: "AGE", right: true, value: ({ age }) => formatDuration(age) },
  { title: "SENT", right: true, value: ({ messagesSent }) => String(messagesSent) },
  { title: "RECEIVED", right: true, value: ({ messagesReceived }) => String(messagesReceived) },
];

const ROUTE_COLUMNS: readonly Column<RoutingStateView>[] = [
  { title: "ROLE", value: ({ role }) => role },
  { title: "NSLP", right: true, value: ({ nslpId }) => String(nslpId) },
  { title: "SESSION", value: ({ sessionId }) => sessionId.slice(0, 16) },
  { title: "PATH", value: ({ mri }) => mri },
  { title: "STATE", value: ({ state }) => state },
  { title: "PEER", value: ({ peer }) => peer || "-" },
  { title: "IDENTITY", value: ({ peerIdentity }) => peerIdentity.slice(0, 16) || "-" },
  { title: "BY", value: ({ carriedBy }) => carriedBy },
  {
    title: "EXPIRES",
    right: true,
    value: ({ expiresIn }) => (expiresIn === null ? "-" : formatDuration(expiresIn)),
  },
];

interface Routes {
  readonly routes: readonly RoutingStateView[];
  /** There are others. */
  readonly more: boolean;
}

const DEFAULT_LIMIT = 1000;
const MAX_LIMIT = 100_000_000;

const LIMIT_HELP = `  --limit N      so many routing states at most, default ${DEFAULT_LIMIT}`;

export const peersCommand: Command = {
  name: "peers",
  usage: "[--routes [--limit N]]",
  summary: "Neighbours on the signalling path, associations, and counters by message and error",
  help: `  --routes       the routing states as well\n${LIMIT_HELP}`,
  options: { routes: { type: "boolean" }, limit: { type: "string" } },
  arguments: { min: 0, max: 0 },
  run: async (context, parsed) => {
    const view = await context.client.get<PeersView>("/v1/peers");
    if (parsed.values["routes"] !== true) {
      await show(context, view, () => peersText(view));
      return 0;
    }
    const routes = await routesOf(context, parsed);
    const text = view.service === null ? `\n${routesText(routes)}` : "";
    await show(context, { ...view, ...routes }, () => `${peersText(view)}${text}`);
    return 0;
  },
};

export const routesCommand: Command = {
  name: "routes",
  usage: "[--limit N]",
  summary: "Routing states: which session's messages go to which peer, and how",
  help: LIMIT_HELP,
  options: { limit: { type: "string" } },
  arguments: { min: 0, max: 0 },
  run: async (context, parsed) => {
    const routes = await routesOf(context, parsed);
    await show(context, routes, () => routesText(routes));
    return 0;
  },
};

function routesOf({ client }: Context, parsed: Parsed): Promise<Routes> {
  return client.get<Routes>(`/v1/routes?limit=${numberOf(parsed, "limit", MAX_LIMIT) ?? DEFAULT_LIMIT}`);
}

function peersText({ associations, routingStates, counters, service }: PeersView): string {
  if (service !== null)
    return `signalling is done by gistd on ${service}; see: gistctl peers\n${fields(counterLines("", counters))}`;
  const list = associations.length === 0 ? "no associations\n" : table(COLUMNS, associations);
  const { querying, responding } = routingStates;
  const states = `${querying} towards receivers, ${responding} towards senders`;
  return `${list}\n${fields([["routing states", states], ...counterLines("", counters)])}`;
}

function routesText({ routes, more }: Routes): string {
  if (routes.length === 0) return "no routing states\n";
  return `${table(ROUTE_COLUMNS, routes)}${more ? "there are more; see --limit\n" : ""}`;
}
