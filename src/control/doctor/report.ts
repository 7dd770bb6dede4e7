/** What `pbsctl doctor` finds. */

export interface Check {
  readonly name: string;
  /** info: for knowledge only. */
  readonly result: "ok" | "info" | "warn" | "fail";
  readonly detail: string;
  /** What to do; null where nothing is to do. */
  readonly remedy: string | null;
}

export interface DoctorReport {
  /** No check failed. */
  readonly ok: boolean;
  readonly checks: readonly Check[];
}

export function ok(name: string, detail: string): Check {
  return { name, result: "ok", detail, remedy: null };
}

export function info(name: string, detail: string): Check {
  return { name, result: "info", detail, remedy: null };
}

export function warn(name: string, detail: string, remedy: string): Check {
  return { name, result: "warn", detail, remedy };
}

export function fail(name: string, detail: string, remedy: string): Check {
  return { name, result: "fail", detail, remedy };
}
