/** The control API, version 1. */
import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { LEVELS } from "../authorization/algorithm.js";
import type { RulePolicy } from "../authorization/policy.js";
import { AddressError, type IpAddress } from "../base/address.js";
import { type Flow, flowKey, parseFlow, reverse } from "../base/flow.js";
import type { Time } from "../base/time.js";
import { bytes, type Milliseconds, ms } from "../base/units.js";
import type { Config } from "../config/config.js";
import { choice, duration, optional, size, text } from "../config/fields.js";
import type { FlowView, PbsControl } from "../nslp/view.js";
import type { Blocks } from "../traffic/blocks.js";
import type { Datapath } from "../traffic/datapath.js";
import type { DoctorReport } from "./doctor/report.js";
import { checked, ControlError } from "./error.js";
import type { EventLog } from "./events.js";
import { type Explanation, explain } from "./explain.js";
import { flowListText } from "./flows.js";
import { addGistRoutes, type GistParts } from "./peers.js";
import { inSlices } from "./slices.js";
import type { DaemonFacts, StatusView } from "./status.js";

/** What the API shows and steers. */
export interface ControlParts extends GistParts {
  readonly facts: DaemonFacts;
  readonly time: Time;
  readonly pbs: PbsControl;
  readonly datapath: Pick<Datapath, "engine" | "read" | "status">;
  readonly isOwnAddress: (address: IpAddress) => boolean;
  /** As it is now: SIGHUP changes it. */
  readonly policy: () => RulePolicy;
  readonly config: () => Pick<Config, "exempt" | "return">;
  readonly firewallCounters: () => Promise<Readonly<Record<string, number>>>;
  readonly blocks: Blocks;
  readonly doctor: () => Promise<DoctorReport>;
}

const idSchema = z.object({
  id: z.string().regex(/^[0-9a-f]{1,32}$/i, "not an id; it has up to 32 hexadecimal digits"),
});

const count = (limit: number) => z.coerce.number().int().min(0).max(limit);

const pageSchema = z.strictObject({
  limit: count(100_000_000).default(1000),
  offset: count(100_000_000).default(0),
  role: z.enum(["sender", "router", "receiver"]).optional(),
  state: z.string().max(64).optional(),
  match: z.string().max(200).optional(),
});

const flowText = z.string().max(200);

const reasonSchema = z.strictObject({ reason: optional(text("a reason", "write one sentence")) });

const volume = () => optional(size(bytes(1)));

const requestSchema = z.strictObject({ flow: flowText, volume: volume() });
const grantSchema = z.strictObject({ volume: volume(), lifetime: optional(duration(ms(100))) });
const authenticateSchema = z.strictObject({ level: choice(...LEVELS) });
const explainSchema = z.strictObject({
  flow: flowText,
  subject: z.string().max(255).optional(),
  fingerprint: z.string().max(95).optional(),
});
const blockSchema = z.object({ id: z.string().regex(/^[0-9a-fp.:]{1,45}$/, "not the id of a block") });
const eventsSchema = z.strictObject({ follow: z.enum(["", "0", "1", "true", "false"]).optional() });

export function addRoutes(app: FastifyInstance, parts: ControlParts, events: EventLog): void {
  const { pbs } = parts;
  const started = parts.time.now();

  app.get("/v1/status", () => statusOf(parts, started));
  app.get("/v1/flows", (request, reply) => {
    const page = checked(pageSchema, request.query);
    return reply.type("application/json; charset=utf-8").send(Readable.from(flowListText(pbs.flows(), page)));
  });
  app.get("/v1/flows/:id", (request) => pbs.flow(idOf(request.params)));
  app.get("/v1/pending", () => ({ pending: pbs.pending() }));
  addGistRoutes(app, parts);
  app.get("/v1/doctor", () => parts.doctor());
  app.get("/v1/events", (request, reply) => {
    const { follow } = checked(eventsSchema, request.query);
    return sendEvents(reply, events, follow !== undefined && follow !== "0" && follow !== "false");
  });

  app.get("/v1/blocks", async () => ({ blocks: await parts.blocks.list() }));
  app.post("/v1/blocks/:id/remove", async (request) => {
    const { id } = checked(blockSchema, request.params);
    if (await parts.blocks.unblock(id)) return { done: true };
    throw new ControlError(404, "no-such-block", `nothing is blocked as "${id}"`, "see: pbsctl blocks");
  });

  app.post("/v1/request", (request) => {
    const body = checked(requestSchema, request.body);
    return pbs.request(flowKey(flowOf(body.flow)), body.volume);
  });
  app.post("/v1/explain", (request) => explainFlow(parts, checked(explainSchema, request.body)));
  app.post("/v1/flows/:id/grant", (request) => {
    const { volume: newVolume, lifetime } = checked(grantSchema, request.body);
    return pbs.grant(idOf(request.params), {
      ...(newVolume !== undefined && { volume: newVolume }),
      ...(lifetime !== undefined && { lifetime }),
    });
  });
  app.post("/v1/flows/:id/authenticate", (request) =>
    pbs.authenticate(idOf(request.params), checked(authenticateSchema, request.body).level),
  );
  app.post("/v1/flows/:id/deny", async (request) => {
    await pbs.deny(idOf(request.params), checked(reasonSchema, request.body).reason);
    return { done: true };
  });
  app.post("/v1/flows/:id/revoke", async (request) => {
    await pbs.revoke(idOf(request.params), checked(reasonSchema, request.body).reason);
    return { done: true };
  });
}

function idOf(params: unknown): string {
  return checked(idSchema, params).id.toLowerCase();
}

function flowOf(given: string): Flow {
  try {
    return parseFlow(given);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    throw new ControlError(400, "bad-flow", error.message, "write: tcp 192.168.20.1:4000 > 192.168.21.4:80");
  }
}

async function statusOf(parts: ControlParts, started: Milliseconds): Promise<StatusView> {
  const gist = parts.gist();
  return {
    ...parts.facts,
    pid: process.pid,
    uptime: ms(parts.time.now() - started),
    identity: gist.identity,
    datapath: parts.datapath.status(),
    pending: parts.pbs.pending().length,
    admission: parts.pbs.admission(),
    service: gist.service,
    associations: gist.associations.length,
    routingStates: gist.routingStates,
    counters: { pbs: parts.pbs.counters(), gist: gist.counters, firewall: await parts.firewallCounters() },
  };
}

function sendEvents(reply: FastifyReply, events: EventLog, follow: boolean): FastifyReply {
  void reply.type("application/x-ndjson; charset=utf-8");
  if (follow) return reply.send(events.follow());
  return reply.send(
    events
      .recent()
      .map((event) => `${JSON.stringify(event)}\n`)
      .join(""),
  );
}

async function explainFlow(parts: ControlParts, asked: z.output<typeof explainSchema>): Promise<Explanation> {
  const flow = flowOf(asked.flow);
  const { exempt, return: returns } = parts.config();
  const permission = await findFlow(parts.pbs, flowKey(flow));
  const opposite = returns.policy === "auto" ? await findFlow(parts.pbs, flowKey(reverse(flow))) : undefined;
  const subject = asked.subject ?? permission?.requester ?? "";
  return explain({
    flow,
    engine: parts.datapath.engine,
    permission,
    count: parts.datapath.read([flow])[0],
    policy: parts.policy().explain(flow, { subject, fingerprint: asked.fingerprint ?? "" }),
    returnGranted: opposite?.role === "sender",
    exempt,
    isOwn: parts.isOwnAddress,
  });
}

async function findFlow(pbs: PbsControl, key: string): Promise<FlowView | undefined> {
  for await (const view of inSlices(pbs.flows())) if (view.flow === key) return view;
  return undefined;
}
