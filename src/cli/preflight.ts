/** What would make a start fail, found before anything is changed. */
import { queuesOf, signallingQueues } from "../base/queues.js";
import type { Config } from "../config/config.js";
import type { GistdConfig } from "../config/gistd-config.js";
import { missingCapabilities } from "../control/doctor/doctor.js";
import { thisMachine } from "../control/doctor/machine.js";
import { assertUnused } from "../control/socket.js";
import { GIST_PORT } from "../gist/wire/messages.js";
import { StartError } from "./failure.js";
import type { SignallingConfig } from "./signalling-options.js";

/** Rejects with StartError or SocketError. */
export async function preflight({ control, signalling, packets, relay }: Config): Promise<void> {
  checkPrivileges();
  if (relay.serve) await checkPort("udp", relay.port, "stop the program that has it, or change [relay] port");
  await assertUnused({ path: control.socket, owner: "pbsd" });
  const signals = signalling.service === null;
  if (signals) await checkSignallingPorts(signalling);
  checkQueues(queuesOf(packets.queueBase, signals), "change [packets] queue_base");
}

/** Rejects with StartError or SocketError. */
export async function gistdPreflight({ control, service, signalling }: GistdConfig): Promise<void> {
  checkPrivileges();
  await assertUnused({ path: control.socket, owner: "gistd" });
  await assertUnused({ path: service.socket, owner: "gistd", section: "service" });
  await checkSignallingPorts(signalling);
  checkQueues(signallingQueues(signalling.queue), "change [signalling] queue");
}

async function checkSignallingPorts({ tlsPort, tcpPort }: SignallingConfig): Promise<void> {
  await checkPort("udp", GIST_PORT, "GIST has this port alone: stop the program that has it");
  await checkPort("tcp", tlsPort, "stop the program that has it, or change [signalling] tls_port");
  if (tcpPort !== null)
    await checkPort("tcp", tcpPort, "stop the program that has it, or change [signalling] tcp_port");
}

function checkPrivileges(): void {
  const missing = missingCapabilities(thisMachine);
  if (missing.length === 0) return;
  throw new StartError(
    `this process lacks ${missing.join(", ")} (run as root, or as a service that has them)`,
  );
}

async function checkPort(protocol: "udp" | "tcp", port: number, remedy: string): Promise<void> {
  const error = await thisMachine.tryPort(protocol, port);
  if (error === undefined) return;
  const what = error === "EADDRINUSE" ? "is in use" : `cannot be had: ${error}`;
  throw new StartError(`${protocol} port ${port} ${what} (${remedy})`);
}

function checkQueues(numbers: readonly number[], remedy: string): void {
  const listing = thisMachine.read("/proc/net/netfilter/nfnetlink_queue") ?? "";
  const taken = new Set(listing.split("\n").map((line) => Number(line.trim().split(/\s+/)[0] || Number.NaN)));
  for (const number of numbers)
    if (taken.has(number))
      throw new StartError(`queue ${number} is taken (stop the program that has it, or ${remedy})`);
}
