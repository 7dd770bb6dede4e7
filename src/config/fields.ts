/** Schemas of single fields: each takes what TOML gave, and says itself what is wrong and what to write. */
import { z } from "zod";
import type { PortRange } from "../authorization/policy.js";
import { AddressError, IpAddress, IpPrefix } from "../base/address.js";
import { parseProtocol } from "../base/flow.js";
import { type Bytes, type Milliseconds, ms } from "../base/units.js";
import { parseDuration, parsePorts, parseSize, QuantityError } from "./quantity.js";

/** A field that cannot be taken. */
export class FieldError extends Error {
  override readonly name = "FieldError";
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

/** A schema out of a function that throws {@link FieldError}, QuantityError or AddressError. Absent is an error. */
function field<T>(remedy: string, parse: (raw: unknown) => T) {
  return z.transform((raw: unknown, context): T => {
    try {
      if (raw === undefined) throw new FieldError("is missing", remedy);
      return parse(raw);
    } catch (error) {
      if (!isExpected(error)) throw error;
      const own = "remedy" in error ? error.remedy : remedy;
      context.issues.push({ code: "custom", message: error.message, input: raw, params: { remedy: own } });
      return z.NEVER;
    }
  });
}

function isExpected(error: unknown): error is FieldError | QuantityError | AddressError {
  return error instanceof FieldError || error instanceof QuantityError || error instanceof AddressError;
}

/** As `inner`, and undefined when it is absent. */
export function optional<T>(inner: z.ZodType<T>) {
  return z.optional(inner);
}

function inWords(raw: unknown): string {
  if (Array.isArray(raw)) return "a list";
  if (raw instanceof Date) return "a date";
  if (typeof raw === "object") return "a table";
  return typeof raw === "string" ? JSON.stringify(raw) : String(raw);
}

function string(raw: unknown, what: string, remedy: string): string {
  if (typeof raw !== "string") throw new FieldError(`${inWords(raw)} is not ${what}`, remedy);
  if (raw === "") throw new FieldError("is empty", remedy);
  return raw;
}

/** A text of `max` bytes at most, without control characters. */
export function text(what: string, remedy: string, max = 255) {
  return field(remedy, (raw) => {
    const value = string(raw, what, remedy);
    if (/\p{Cc}/u.test(value)) throw new FieldError("has control characters", "take them out");
    if (Buffer.byteLength(value) > max) throw new FieldError(`is longer than ${max} bytes`, "shorten it");
    return value;
  });
}

/** A text that fits a pattern. */
export function pattern(expression: RegExp, what: string, remedy: string) {
  return field(remedy, (raw) => {
    const value = string(raw, what, remedy);
    if (!expression.test(value)) throw new FieldError(`${inWords(raw)} is not ${what}`, remedy);
    return value;
  });
}

export function choice<const T extends string>(...values: readonly T[]) {
  const remedy = `write ${values.map((value) => JSON.stringify(value)).join(" or ")}`;
  return field(remedy, (raw): T => {
    const found = values.find((value) => value === raw);
    if (found === undefined) throw new FieldError(`${inWords(raw)} is not one of its values`, remedy);
    return found;
  });
}

/** A list of one or more of these, each once. */
export function choices<const T extends string>(...values: readonly T[]) {
  const remedy = `write a list of: ${values.join(", ")}`;
  return field(remedy, (raw): readonly T[] => {
    const chosen = listOf(
      raw,
      (entry): T => {
        const found = values.find((value) => value === entry);
        if (found === undefined) throw new FieldError(`${inWords(entry)} is not one of its values`, remedy);
        return found;
      },
      remedy,
    );
    if (new Set(chosen).size < chosen.length) throw new FieldError("names one twice", "write each once");
    return chosen;
  });
}

export function whole(min: number, max: number) {
  const remedy = `write a whole number from ${min} to ${max}`;
  return field(remedy, (raw) => {
    if (typeof raw !== "number" || !Number.isInteger(raw))
      throw new FieldError(`${inWords(raw)} is not a whole number`, remedy);
    if (raw < min || raw > max) throw new FieldError(`${raw} is out of range`, remedy);
    return raw;
  });
}

/** A share in percent, as a share of 1. */
export function percent(max = 100) {
  const remedy = `write a number from 0 to ${max}`;
  return field(remedy, (raw) => {
    if (typeof raw !== "number" || !Number.isFinite(raw))
      throw new FieldError(`${inWords(raw)} is not a number`, remedy);
    if (raw < 0 || raw > max) throw new FieldError(`${raw} is out of range`, remedy);
    return raw / 100;
  });
}

export function address() {
  return field('write an address such as "192.168.30.3"', (raw) =>
    IpAddress.parse(string(raw, "an address", 'write an address such as "192.168.30.3"')),
  );
}

export function flag() {
  const remedy = "write true or false";
  return field(remedy, (raw) => {
    if (typeof raw !== "boolean") throw new FieldError(`${inWords(raw)} is not true or false`, remedy);
    return raw;
  });
}

export function size(min: Bytes) {
  const remedy = 'write a size such as "10MB"';
  return field(remedy, (raw): Bytes => {
    if (typeof raw !== "string" && typeof raw !== "number")
      throw new FieldError(`${inWords(raw)} is not a size`, remedy);
    const value = parseSize(raw);
    if (value < min) throw new FieldError(`${inWords(raw)} is too small`, `write ${min} bytes or more`);
    return value;
  });
}

/** At least 10 ms, one tick of the daemon's clock. */
export function duration(min: Milliseconds = ms(10)) {
  const remedy = 'write a duration such as "30s" or "10m"';
  return field(remedy, (raw): Milliseconds => {
    if (typeof raw === "number")
      throw new FieldError(`${raw} has no unit`, `write ${JSON.stringify(`${raw}s`)} for seconds`);
    const value = parseDuration(string(raw, "a duration", remedy));
    if (value < min) throw new FieldError(`${inWords(raw)} is too short`, `write "${min}ms" or more`);
    return value;
  });
}

export function prefix() {
  return field('write a prefix such as "192.168.20.0/24" or an address', parsePrefix);
}

export function prefixes() {
  return field('write a prefix such as "192.168.20.0/24", or a list of them', (raw) =>
    listOf(raw, parsePrefix),
  );
}

function parsePrefix(raw: unknown): IpPrefix {
  const value = string(raw, "a prefix", 'write a prefix such as "192.168.20.0/24"');
  const parsed = IpPrefix.parse(value);
  const [address] = value.split("/");
  if (address !== undefined && !IpPrefix.parse(address).address.equals(parsed.address))
    throw new FieldError(`${inWords(raw)} has bits beyond its length`, `write "${parsed}" or "${address}"`);
  return parsed;
}

export function protocol() {
  return field('write "tcp", "udp", "icmp", "icmpv6" or a number', parseProtocolField);
}

export function protocols() {
  return field('write "tcp", "udp", "icmp", "icmpv6", a number, or a list of them', (raw) =>
    listOf(raw, parseProtocolField),
  );
}

function parseProtocolField(raw: unknown): number {
  const remedy = 'write "tcp", "udp", "icmp", "icmpv6" or a number below 256';
  if (typeof raw !== "string" && typeof raw !== "number")
    throw new FieldError(`${inWords(raw)} is not a protocol`, remedy);
  try {
    return parseProtocol(String(raw));
  } catch {
    throw new FieldError(`${inWords(raw)} is not a protocol`, remedy);
  }
}

export function ports() {
  const remedy = 'write a port such as "80", a range such as "8000-8100", or a list of them';
  return field(remedy, (raw): readonly PortRange[] =>
    listOf(raw, (entry) => {
      if (typeof entry !== "string" && typeof entry !== "number")
        throw new FieldError(`${inWords(entry)} is not a port`, remedy);
      return parsePorts(entry);
    }).flat(),
  );
}

/** One value, or a list of one or more. */
function listOf<T>(
  raw: unknown,
  parse: (entry: unknown) => T,
  whenEmpty = "leave it out to match everything",
): readonly T[] {
  if (!Array.isArray(raw)) return [parse(raw)];
  if (raw.length === 0) throw new FieldError("is an empty list", whenEmpty);
  return raw.map(parse);
}
