/**
 * Ends TCP connections of this host in the kernel, so that programs hear of it at once, and not with TCP's next try to send:
 * SOCK_DESTROY of NETLINK_SOCK_DIAG (linux/sock_diag.h, linux/inet_diag.h).
 */
import netlink from "netlink";
import { IpAddress, type IpFamily } from "../base/address.js";
import { type Flow, flowKey, PROTOCOL } from "../base/flow.js";
import type { Logger } from "../base/log.js";

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;

const AF: Readonly<Record<IpFamily, number>> = { 4: 2, 6: 10 };
const KERNEL_ANSWERS_WITHIN = { timeout: 2000 };

/** struct inet_diag_req_v2: family, protocol, 2 bytes, states; then the socket's id: ports, addresses, interface, cookie. */
const REQUEST_BYTES = 56;
const PROTOCOL_AT = 1;
const STATES_AT = 4;
const SOURCE_PORT_AT = 8;
const DESTINATION_PORT_AT = 10;
const SOURCE_AT = 12;
const DESTINATION_AT = 28;
const REQUEST_COOKIE_AT = 48;
/** struct inet_diag_msg: family, state, 2 bytes; then the id. */
const STATE_AT = 1;
const ANSWER_COOKIE_AT = 44;
const COOKIE_BYTES = 8;

/** TCP_TIME_WAIT, TCP_CLOSE and TCP_LISTEN (linux/tcp_states.h): there is no connection to end. */
const NOT_CONNECTED: readonly number[] = [6, 7, 10];
/** No such socket; or a kernel without any answers to such questions. */
const ABSENT = "ENOENT";

/** What a request came to, as far as `end` tells them apart. */
export type Ended = "ended" | "absent" | "unable";

export class Connections {
  readonly #kernel: netlink.NetlinkSocket;
  readonly #logger: Logger;
  /** One question after the other: answers to very many overrun the socket. */
  #queue: Promise<unknown> = Promise.resolve();
  #told = false;

  /** Throws where there is no netlink. */
  constructor(logger: Logger) {
    this.#logger = logger;
    this.#kernel = netlink.createNetlink(NETLINK_SOCK_DIAG);
    this.#kernel.on("error", () => undefined);
  }

  /** Why this kernel ends no connections, or not for this process; undefined: it does. Ends none. Does not reject. */
  static async probe(): Promise<string | undefined> {
    try {
      const kernel = netlink.createNetlink(NETLINK_SOCK_DIAG);
      kernel.on("error", () => undefined);
      const nobody = requestFor(NOBODY);
      const asking = kernel.request(SOCK_DESTROY, nobody, KERNEL_ANSWERS_WITHIN);
      return await asking.then(() => undefined, unable).finally(() => kernel.close());
    } catch (error) {
      return unable(error);
    }
  }

  close(): void {
    this.#kernel.close();
  }

  /**
   * Resets the TCP connection that sends this flow: its program reads ECONNABORTED. "absent": there is none here, or the flow is
   * not TCP; "unable": the kernel cannot, which is logged once. Does not reject.
   */
  end(flow: Flow): Promise<Ended> {
    const ended = this.#queue.then(() => this.#end(flow));
    this.#queue = ended;
    return ended;
  }

  async #end(flow: Flow): Promise<Ended> {
    if (flow.protocol !== PROTOCOL.tcp) return "absent";
    try {
      const request = requestFor(flow);
      const cookie = await this.#cookieOf(request);
      if (cookie === undefined) return "absent";
      // Whatever else has its addresses by now has another cookie.
      cookie.copy(request, REQUEST_COOKIE_AT);
      await this.#kernel.request(SOCK_DESTROY, request, KERNEL_ANSWERS_WITHIN);
      return "ended";
    } catch (error) {
      const why = unable(error);
      if (why === undefined) return "absent";
      this.#tellOnce(flow, why);
      return "unable";
    }
  }

  /** Where no connection has these addresses, the kernel names the listening socket of the port. */
  async #cookieOf(request: Buffer): Promise<Buffer | undefined> {
    const [[answer]] = await this.#kernel.request(SOCK_DIAG_BY_FAMILY, request, KERNEL_ANSWERS_WITHIN);
    const data = answer === undefined ? Buffer.alloc(0) : bytesOf(answer.data);
    const state = data[STATE_AT];
    const end = ANSWER_COOKIE_AT + COOKIE_BYTES;
    if (state === undefined || NOT_CONNECTED.includes(state) || data.length < end) return undefined;
    return data.subarray(ANSWER_COOKIE_AT, end);
  }

  #tellOnce(flow: Flow, why: string): void {
    if (this.#told) return;
    this.#told = true;
    const text =
      "connections cannot be ended: programs hear with TCP's next try to send that their flow gave way";
    this.#logger.warn({ flow: flowKey(flow), why }, text);
  }
}

/** Nothing has port 0. */
const NOBODY: Flow = {
  protocol: PROTOCOL.tcp,
  source: IpAddress.parse("127.0.0.1"),
  destination: IpAddress.parse("127.0.0.1"),
  sourcePort: 0,
  destinationPort: 0,
};

/** Undefined: it was not there. */
function unable(error: unknown): string | undefined {
  const text = error instanceof Error ? error.message : String(error);
  if (text.includes(ABSENT)) return undefined;
  return text.includes("EOPNOTSUPP") ? "the kernel has no CONFIG_INET_DIAG_DESTROY" : text;
}

function requestFor({ source, destination, sourcePort, destinationPort }: Flow): Buffer {
  const request = Buffer.alloc(REQUEST_BYTES);
  request[0] = AF[source.family];
  request[PROTOCOL_AT] = PROTOCOL.tcp;
  // All states, and any socket.
  request.fill(0xff, STATES_AT, STATES_AT + 4);
  request.writeUInt16BE(sourcePort, SOURCE_PORT_AT);
  request.writeUInt16BE(destinationPort, DESTINATION_PORT_AT);
  request.set(source.bytes, SOURCE_AT);
  request.set(destination.bytes, DESTINATION_AT);
  request.fill(0xff, REQUEST_COOKIE_AT);
  return request;
}

function bytesOf(data: Uint8Array | Uint8Array[]): Buffer {
  return Buffer.concat([data].flat());
}
