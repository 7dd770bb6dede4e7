/** Key and certificate files: written whole or not at all, private keys seen by their owner only. */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from "node:fs";

/** What is wrong with a key or certificate file, or with what was asked, and the remedy. */
export class KeysError extends Error {
  override readonly name = "KeysError";
}

/** No key or certificate file is longer; a wrong path may lead to a device or a log file. */
const MAX_FILE = 1024 * 1024;
const OWNER_ONLY = 0o600;
const EVERYBODY_READS = 0o644;

/** Throws {@link KeysError} naming the file. */
export function readText(file: string): string {
  return withFile(file, (descriptor) => readAll(descriptor, file));
}

/** Reads a private key file, which only its owner may be able to read: this user or root. Throws {@link KeysError}. */
export function readPrivateText(file: string): string {
  return withFile(file, (descriptor) => {
    checkPrivate(file, fstatSync(descriptor));
    return readAll(descriptor, file);
  });
}

export interface NewFile {
  readonly file: string;
  readonly content: string;
  readonly private: boolean;
}

/**
 * Writes all of the files, each by a rename so that nobody sees half of one. Throws {@link KeysError} before anything is
 * written when one exists and `force` is not set.
 */
export function writeFiles(files: readonly NewFile[], force: boolean): void {
  if (!force) for (const { file } of files) refuseExisting(file);
  for (const file of files) writeFile(file, force);
}

function writeFile({ file, content, private: isPrivate }: NewFile, force: boolean): void {
  const temporary = `${file}.${randomBytes(6).toString("hex")}.new`;
  try {
    writeNew(temporary, content, isPrivate ? OWNER_ONLY : EVERYBODY_READS);
    if (force) renameSync(temporary, file);
    // A link fails where a rename would replace a file that came up meanwhile.
    else linkSync(temporary, file);
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw existing(file);
    throw new KeysError(`${file} cannot be written: ${messageOf(error)}`);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function writeNew(file: string, content: string, mode: number): void {
  const descriptor = openSync(file, "wx", mode);
  try {
    const bytes = Buffer.from(content);
    let done = 0;
    while (done < bytes.length) done += writeSync(descriptor, bytes, done);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function refuseExisting(file: string): void {
  if (existsSync(file)) throw existing(file);
}

function existing(file: string): KeysError {
  return new KeysError(`${file} exists already; choose another name, or overwrite it with --force`);
}

function withFile<Result>(file: string, use: (descriptor: number) => Result): Result {
  const descriptor = open(file);
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function open(file: string): number {
  try {
    return openSync(file, "r");
  } catch (error) {
    throw new KeysError(`${file} cannot be read: ${messageOf(error)}`);
  }
}

function readAll(descriptor: number, file: string): string {
  try {
    if (!fstatSync(descriptor).isFile()) throw new Error("it is not a file");
    const buffer = Buffer.alloc(MAX_FILE + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length <= MAX_FILE; length += got)
      got = readSync(descriptor, buffer, length, buffer.length - length, null);
    if (length > MAX_FILE) throw new Error("it is longer than a key or certificate");
    return buffer.toString("utf8", 0, length);
  } catch (error) {
    throw new KeysError(`${file} cannot be read: ${messageOf(error)}`);
  }
}

function checkPrivate(file: string, stats: Stats): void {
  if ((stats.mode & 0o077) !== 0)
    throw new KeysError(
      `private key ${file} can be read or changed by others (mode ${(stats.mode & 0o777).toString(8)}); run: chmod 600 ${file}`,
    );
  const user = process.geteuid?.() ?? 0;
  if (stats.uid !== user && stats.uid !== 0)
    throw new KeysError(
      `private key ${file} belongs to user ${stats.uid}, not to the user who reads it; run: chown ${user} ${file}`,
    );
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
