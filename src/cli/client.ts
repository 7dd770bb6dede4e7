/** HTTP to a daemon over its control socket. */
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { CommandError } from "./errors.js";

export class Client {
  readonly socket: string;
  readonly #daemon: string;

  constructor(socket: string, daemon = "pbsd") {
    this.socket = socket;
    this.#daemon = daemon;
  }

  /** The answer's JSON. Rejects with {@link CommandError}. */
  async get<T>(path: string): Promise<T> {
    return (await json(await this.open("GET", path), this.#daemon)) as T;
  }

  async post<T>(path: string, body: object): Promise<T> {
    return (await json(await this.open("POST", path, body), this.#daemon)) as T;
  }

  /** The answer as a stream, once it is known to be a good one. Rejects with {@link CommandError}. */
  async open(method: "GET" | "POST", path: string, body?: object): Promise<IncomingMessage> {
    const answer = await this.#send(method, path, body);
    if (answer.statusCode === 200) return answer;
    throw refusal(answer.statusCode ?? 0, await text(answer), this.#daemon);
  }

  #send(method: string, path: string, body: object | undefined): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { "content-type": "application/json" };
      const sending = request({ socketPath: this.socket, method, path, headers, agent: false }, resolve);
      sending.once("error", (error: NodeJS.ErrnoException) => reject(this.#unreachable(error)));
      sending.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  #unreachable(error: NodeJS.ErrnoException): CommandError {
    if (error.code === "EACCES")
      return new CommandError(
        "no-access",
        `this user may not use ${this.socket}`,
        "run as root or as a member of the group in [control] group",
      );
    if (error.code === "ENOENT" || error.code === "ECONNREFUSED")
      return new CommandError(
        "no-daemon",
        `${this.#daemon} does not answer on ${this.socket}`,
        `start ${this.#daemon}, or name its socket with --socket`,
      );
    return new CommandError(
      "no-daemon",
      `${this.socket}: ${error.message}`,
      `look at the log of ${this.#daemon}`,
    );
  }
}

async function json(answer: IncomingMessage, daemon: string): Promise<unknown> {
  const body = await text(answer).catch(() => "");
  try {
    return JSON.parse(body);
  } catch {
    throw new CommandError(
      "bad-answer",
      `${daemon} gave an answer that is not JSON`,
      `look at the log of ${daemon}`,
    );
  }
}

function refusal(status: number, body: string, daemon: string): CommandError {
  try {
    const { error } = JSON.parse(body) as { error: { code: string; message: string; remedy: string } };
    return new CommandError(error.code, error.message, error.remedy);
  } catch {
    return new CommandError(
      "bad-answer",
      `${daemon} answered with status ${status}`,
      `look at the log of ${daemon}`,
    );
  }
}
