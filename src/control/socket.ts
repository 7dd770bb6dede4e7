/** A Unix socket's place in the file system: who may connect, and whom it may replace. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { connect, type Server } from "node:net";
import { dirname, join } from "node:path";

/** The socket cannot be had. */
export class SocketError extends Error {
  override readonly name = "SocketError";
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

/** Where a socket is to be, and for whom. */
export interface SocketPlace {
  readonly path: string;
  /** Whose members may connect as well as the owner; null: the daemon's own group. */
  readonly group: string | null;
  /** The program that listens, for messages. */
  readonly owner: string;
  /** The section of its configuration that names the socket; default "control". */
  readonly section?: string;
}

const ANSWER_TIMEOUT = 1000;

/**
 * Makes a server listen on a Unix socket of mode 0660. A socket that is there is replaced only if nobody answers on it. The
 * directory is made with mode 0750 if it is missing.
 * @returns a function that removes the socket, unless somebody else has taken its place
 * Rejects with {@link SocketError}.
 */
export async function listenOnSocket(server: Server, place: SocketPlace): Promise<() => void> {
  const { path, group } = place;
  const gid = group === null ? undefined : groupId(group);
  await assertUnused(place);
  const directory = dirname(path);
  const staging = withRemedy(place, () => {
    mkdirSync(directory, { recursive: true, mode: 0o750 });
    if (gid !== undefined && ownsAlone(directory)) chownSync(directory, -1, gid);
    return mkdtempSync(join(directory, ".new-"));
  });
  // Made where nobody can reach it, and moved when its mode is right: there is no moment of wider access.
  const hidden = join(staging, "s");
  try {
    await listen(server, hidden, place);
    withRemedy(place, () => {
      chmodSync(hidden, 0o660);
      if (gid !== undefined) chownSync(hidden, -1, gid);
      renameSync(hidden, path);
    });
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  const { ino } = lstatSync(path);
  return () => removeOwn(path, ino);
}

/** Only a directory that stands for this socket alone is given to the group. */
function ownsAlone(directory: string): boolean {
  return (
    !["/", "/run", "/tmp", "/var/run", "/var/tmp"].includes(directory) &&
    lstatSync(directory).uid === process.getuid?.()
  );
}

function removeOwn(path: string, inode: number): void {
  try {
    if (lstatSync(path).ino === inode) unlinkSync(path);
  } catch {
    // It is gone already.
  }
}

function listen(server: Server, path: string, place: SocketPlace): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(cannot(place, error));
    server.once("error", failed);
    server.listen(path, () => {
      server.off("error", failed);
      resolve();
    });
  });
}

/** Rejects with {@link SocketError} when somebody answers on this socket, or something else is in its place. */
export async function assertUnused(place: Omit<SocketPlace, "group">): Promise<void> {
  const { path, owner } = place;
  const stat = withRemedy(place, () => lstatSync(path, { throwIfNoEntry: false }));
  if (stat === undefined) return;
  if (!stat.isSocket())
    throw new SocketError(
      `${path} is there and is not a socket`,
      `remove it, or set another ${setting(place)}`,
    );
  if (await answers(path))
    throw new SocketError(
      `another ${owner} answers on ${path}`,
      `stop it first, or set another ${setting(place)}`,
    );
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const done = (result: boolean): void => {
      probe.destroy();
      resolve(result);
    };
    probe.setTimeout(ANSWER_TIMEOUT, () => done(true));
    probe.once("connect", () => done(true));
    probe.once("error", () => done(false));
  });
}

function setting({ section }: Pick<SocketPlace, "section">): string {
  return `[${section ?? "control"}] socket`;
}

function withRemedy<T>(place: Omit<SocketPlace, "group">, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw cannot(place, error as Error);
  }
}

function cannot(place: Omit<SocketPlace, "group">, error: Error): SocketError {
  return new SocketError(
    `the ${place.section ?? "control"} socket ${place.path} cannot be made: ${error.message}`,
    `check the directory's permissions, or set another ${setting(place)}`,
  );
}

/** The number of a group, by name or number. Throws {@link SocketError}. */
export function groupId(group: string): number {
  if (/^\d{1,9}$/.test(group)) return Number(group);
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${group}:`));
  const id = Number(line?.split(":")[2] ?? Number.NaN);
  if (Number.isInteger(id)) return id;
  throw new SocketError(`there is no group "${group}"`, "make it with groupadd, or name another one");
}
