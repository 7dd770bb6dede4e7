/** The machine as the doctor sees it; a test gives another one. */
import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { release } from "node:os";
import { Connections } from "../../traffic/connections.js";
import { native } from "../../traffic/native.js";
import { XdpDatapath } from "../../traffic/xdp.js";

export interface CommandResult {
  /** Exit status; -1 when the program is not there or was stopped. */
  readonly status: number;
  /** Output and errors, trimmed. */
  readonly output: string;
}

export interface Machine {
  readonly kernel: string;
  run(program: string, args: readonly string[]): Promise<CommandResult>;
  /** A small file; undefined when it is not there or not readable. */
  read(path: string): string | undefined;
  exists(path: string): boolean;
  /** undefined when the port can be had, else the error code, such as EADDRINUSE. */
  tryPort(protocol: "udp" | "tcp", port: number): Promise<string | undefined>;
  /** Loads a native package or the addon; undefined when that works, else why not. */
  load(name: "addon" | "netlink" | "nfqueue" | "raw-socket"): Promise<string | undefined>;
  /** Why there can be no XDP programs, and why packets with AH cannot be taken beside the stack, if so. */
  xdp(): { readonly programs?: string; readonly sockets?: string };
  /** Why TCP connections cannot be ended, if so. */
  connections(): Promise<string | undefined>;
  wall(): number;
}

const COMMAND_TIMEOUT = 10_000;

export const thisMachine: Machine = {
  kernel: release(),
  run: (program, args) =>
    new Promise((resolve) => {
      const path = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
      const options = { timeout: COMMAND_TIMEOUT, env: { ...process.env, PATH: path, LC_ALL: "C" } };
      execFile(program, args, options, (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        resolve({ status, output: `${stdout}${stderr}`.trim() });
      });
    }),
  read: (path) => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return undefined;
    }
  },
  exists: existsSync,
  tryPort: (protocol, port) => (protocol === "udp" ? tryUdp(port) : tryTcp(port)),
  load: async (name) => {
    try {
      if (name === "addon") native();
      else await import(name);
      return undefined;
    } catch (error) {
      return (error as Error).message.split("\n")[0];
    }
  },
  xdp: () => {
    const [programs, sockets] = [() => XdpDatapath.probe(), () => XdpDatapath.probeSockets()].map(failure);
    return { ...(programs !== undefined && { programs }), ...(sockets !== undefined && { sockets }) };
  },
  connections: () => Connections.probe(),
  wall: () => Date.now(),
};

function failure(probe: () => void): string | undefined {
  try {
    probe();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function tryUdp(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.once("error", (error: NodeJS.ErrnoException) => {
      socket.close();
      resolve(error.code ?? error.message);
    });
    socket.bind(port, () => socket.close(() => resolve(undefined)));
  });
}

function tryTcp(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, () => server.close(() => resolve(undefined)));
  });
}
