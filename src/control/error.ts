/** Errors of the control API: `{"error": {"code", "message", "remedy"}}` with a status that fits. */
import type { z } from "zod";

export class ControlError extends Error {
  override readonly name = "ControlError";
  readonly status: number;
  readonly code: string;
  readonly remedy: string;

  constructor(status: number, code: string, message: string, remedy: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.remedy = remedy;
  }
}

export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly remedy: string };
}

/** Fastify names its own errors FST_...; they carry the status. undefined for any other. */
export function fromFastify(error: unknown): ControlError | undefined {
  const { statusCode, message } = error as { statusCode?: unknown; message?: unknown };
  if (typeof statusCode !== "number" || statusCode < 400 || statusCode > 499) return undefined;
  return new ControlError(
    statusCode,
    "bad-request",
    String(message),
    "send JSON as docs/operation.md shows it",
  );
}

export function errorBody({ code, message, remedy }: ControlError): ErrorBody {
  return { error: { code, message, remedy } };
}

/** What a schema makes of a query string or body. Throws {@link ControlError} 400 with the first thing that is wrong. */
export function checked<S extends z.ZodType>(schema: S, raw: unknown): z.output<S> {
  const result = schema.safeParse(raw ?? {});
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ControlError(400, "bad-request", issueText(issue), issueRemedy(issue));
}

function issueText(issue: z.core.$ZodIssue | undefined): string {
  if (issue?.code === "unrecognized_keys") return `unknown field "${issue.keys[0]}"`;
  return [issue?.path.join("."), issue?.message]
    .filter((part) => part !== undefined && part !== "")
    .join(": ");
}

function issueRemedy(issue: z.core.$ZodIssue | undefined): string {
  const own: unknown = issue?.code === "custom" ? issue.params?.["remedy"] : undefined;
  return typeof own === "string" ? own : "see docs/operation.md for the fields of this request";
}
