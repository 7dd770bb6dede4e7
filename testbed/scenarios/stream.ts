/** A stream of datagrams and a file on its way at the same time: what an application notices of an outage. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Capture } from "../lib/capture.js";
import type { SeenPacket } from "../lib/pcap.js";
import type { Outcome, Program } from "../lib/programs.js";
import type { Step } from "../lib/report.js";
import type { Testbed } from "../lib/testbed.js";
import { PATIENCE } from "../lib/wait.js";
import { curl, firstSeen, matches, udpSender, WEB_PORT } from "./common.js";

export const STREAM_PORT = 9000;
const STREAM_RATE = 200;
/** Packets that were on their way when an outage began. */
export const IN_FLIGHT_MS = 50 * PATIENCE;

const FILE_RATE = 200_000;

export const isStream = matches({ protocol: 17, destinationPort: STREAM_PORT });
export const isFile = matches({ protocol: 6, destinationPort: WEB_PORT });

export interface Ends {
  readonly sender: string;
  readonly receiver: string;
}

export class Transfers {
  readonly #wire: Capture;
  readonly #stream: Program;
  readonly #download: Promise<Outcome>;
  readonly #fileBytes: number;

  private constructor(wire: Capture, stream: Program, file: Promise<Outcome>, bytes: number) {
    this.#wire = wire;
    this.#stream = stream;
    this.#download = file;
    this.#fileBytes = bytes;
  }

  /** Resolves when both run. @param seconds that the file takes when nothing disturbs it */
  static async start(testbed: Testbed, ends: Ends, wire: Capture, seconds: number): Promise<Transfers> {
    const to = testbed.address(ends.receiver, 4);
    const stream = testbed.spawn(
      ends.sender,
      udpSender({ from: 4000, to, port: STREAM_PORT, count: 0, size: 200, rate: STREAM_RATE }),
    );
    const bytes = FILE_RATE * seconds;
    // Up, so that the data goes the way of the stream.
    const file = join(testbed.record.directory, "upload");
    writeFileSync(file, Buffer.alloc(bytes));
    const upload = testbed.run(ends.sender, curl(to, "/", "--limit-rate", String(FILE_RATE), "-T", file));
    await firstSeen(wire, isStream);
    await firstSeen(wire, isFile);
    return new Transfers(wire, stream, upload, bytes);
  }

  /** Packets of both on the wire, after those that were on their way. */
  since(time: number): SeenPacket[] {
    return this.#wire
      .packets()
      .filter((packet) => (isStream(packet) || isFile(packet)) && packet.time > time + IN_FLIGHT_MS);
  }

  /** Waits for both after `time`, and measures how long each was away since `outage`. */
  async resume(
    step: Step,
    outage: number,
    time: number,
    limit: number,
  ): Promise<{ stream: number; file: number }> {
    const after = (packet: SeenPacket) => packet.time > time;
    const [stream, file] = await Promise.all([
      firstSeen(this.#wire, (packet) => isStream(packet) && after(packet), limit),
      firstSeen(this.#wire, (packet) => isFile(packet) && after(packet), limit),
    ]);
    step.measure("milliseconds without the stream", Math.round(stream.time - outage));
    step.measure("milliseconds without the file", Math.round(file.time - outage));
    return { stream: stream.time, file: file.time };
  }

  /** The application noticed no error: the whole file has arrived. */
  async end(step: Step): Promise<void> {
    const { status, stdout, stderr } = await this.#download;
    if (stderr !== "") step.measure("curl says", stderr.trim());
    const [code, , up, seconds] = stdout.split(" ");
    step.expect("exit status 0", step.measure("curl's exit status", status) === 0 && code === "200");
    step.expect("whole file", step.measure("bytes of the file", Number(up)) === this.#fileBytes);
    step.measure("seconds", Number(seconds));
    await this.#stream.stop();
  }
}
