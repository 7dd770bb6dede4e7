/** Sizes, durations and ports as people write and read them, in the configuration and on the command line. */
import type { PortRange } from "../authorization/policy.js";
import { type Bytes, bytes, MAX_BYTES, type Milliseconds, ms } from "../base/units.js";

/** A text that is not the quantity it should be. `remedy` says what to write. */
export class QuantityError extends Error {
  override readonly name = "QuantityError";
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

const SIZE_UNITS = new Map<string, number>([
  ["", 1],
  ["b", 1],
  ["kb", 1e3],
  ["mb", 1e6],
  ["gb", 1e9],
  ["tb", 1e12],
  ["kib", 2 ** 10],
  ["mib", 2 ** 20],
  ["gib", 2 ** 30],
  ["tib", 2 ** 40],
]);

const DURATION_UNITS = new Map<string, number>([
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

const SIZE_REMEDY = 'write bytes as a number or a size such as "500kB", "10MB" or "10MiB"';
const DURATION_REMEDY = 'write a number and a unit, such as "500ms", "30s", "10m", "2h" or "1d"';
const PORT_REMEDY = 'write a port such as "80", a range such as "8000-8100", or a list of them';

/** Durations travel as 32 bits of milliseconds. */
export const MAX_DURATION = ms(2 ** 32 - 1);

/** A volume: whole bytes as a number, or a number with B, kB, MB, GB, TB (powers of 1000), KiB to TiB (of 1024). */
export function parseSize(raw: string | number): Bytes {
  const value = typeof raw === "number" ? raw : scaled(raw, SIZE_UNITS);
  if (value === undefined) throw new QuantityError(`${quote(raw)} is not a size`, SIZE_REMEDY);
  if (!Number.isInteger(value))
    throw new QuantityError(`${quote(raw)} is not a whole number of bytes`, SIZE_REMEDY);
  if (value < 0 || value > MAX_BYTES) throw new QuantityError(`${quote(raw)} is out of range`, SIZE_REMEDY);
  return bytes(value);
}

/** A duration up to 49 days with unit ms, s, m, h or d; 0 needs no unit. Whole milliseconds. */
export function parseDuration(raw: string): Milliseconds {
  const value = raw.trim() === "0" ? 0 : scaled(raw, DURATION_UNITS);
  if (value === undefined) throw new QuantityError(`${quote(raw)} is not a duration`, DURATION_REMEDY);
  if (!Number.isInteger(value))
    throw new QuantityError(`${quote(raw)} is not whole milliseconds`, DURATION_REMEDY);
  if (value > MAX_DURATION)
    throw new QuantityError(`${quote(raw)} is longer than 49 days`, "write a shorter one");
  return ms(value);
}

function scaled(text: string, units: ReadonlyMap<string, number>): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  const factor = units.get((match?.[2] ?? "?").toLowerCase());
  if (factor === undefined) return undefined;
  // 1.1 * 1000 must be 1100: what the multiplication adds at the end of the digits is no fraction.
  const value = Number(match?.[1]) * factor;
  return Math.abs(value - Math.round(value)) <= value * 1e-12 ? Math.round(value) : value;
}

/** "80", 80, "8000-8100", "80, 443" or a list of these. Ports are 1 to 65535. */
export function parsePorts(raw: string | number | readonly (string | number)[]): readonly PortRange[] {
  const entries = Array.isArray(raw) ? (raw as readonly (string | number)[]) : [raw as string | number];
  return entries.flatMap((entry) => String(entry).split(",")).map(parsePortRange);
}

function parsePortRange(text: string): PortRange {
  const match = /^\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?$/.exec(text);
  const from = Number(match?.[1] ?? 0);
  const to = match?.[2] === undefined ? from : Number(match[2]);
  if (match === null) throw new QuantityError(`${quote(text)} is not a port`, PORT_REMEDY);
  if (from < 1 || from > 65535 || to > 65535)
    throw new QuantityError(`${quote(text)} is not between 1 and 65535`, PORT_REMEDY);
  if (to < from) throw new QuantityError(`${quote(text)} ends before it begins`, PORT_REMEDY);
  return { from, to };
}

function quote(raw: string | number): string {
  return typeof raw === "number"
    ? String(raw)
    : JSON.stringify(raw.length > 60 ? `${raw.slice(0, 60)}…` : raw);
}

const SIZE_STEPS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** A size for a person, three digits or more: "10 MB", "1.25 GB". */
export function formatSize(size: number): string {
  let step = 0;
  let value = size;
  while (step < SIZE_STEPS.length - 1 && value >= 999.5) {
    value /= 1000;
    step++;
  }
  const digits = step === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${SIZE_STEPS[step]}`;
}

/** A duration for a person, its two largest units: "500ms", "30s", "9m58s", "1d4h". */
export function formatDuration(duration: number): string {
  if (duration < 1000) return `${Math.round(duration)}ms`;
  const total = Math.floor(duration / 1000);
  if (total < 10 && duration % 1000 !== 0) return `${(duration / 1000).toFixed(1)}s`;
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "m"],
    [total % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join("");
}
