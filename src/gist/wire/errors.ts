/** GIST error codes (RFC 5971 appendix A.4.4), and what the decoder throws. */
import { WireError } from "../../base/wire.js";
import type { ErrorInfo } from "./messages.js";

export const ERROR_CLASS = {
  informational: 0,
  success: 1,
  protocol: 2,
  transient: 3,
  permanent: 4,
} as const;

export const ERROR_CODE = {
  commonHeader: 1,
  hopLimitExceeded: 2,
  incorrectEncapsulation: 3,
  incorrectlyDelivered: 4,
  noRoutingState: 5,
  unknownNslpId: 6,
  endpointFound: 7,
  messageTooLarge: 8,
  objectType: 9,
  objectValue: 10,
  invalidIpTtl: 11,
  mriValidation: 12,
} as const;

/** Subcodes of code 1, Common Header Parse Error. */
export const HEADER_ERROR = { version: 0, type: 1, rFlag: 2, length: 3, eFlag: 4, cFlag: 5 } as const;

/** Subcodes of code 9, Object Type Error. */
export const OBJECT_TYPE_ERROR = {
  duplicate: 0,
  unrecognised: 1,
  missing: 2,
  invalid: 3,
  untranslated: 4,
  extensibilityFlags: 5,
} as const;

/** Subcodes of code 10, Object Value Error. */
export const OBJECT_VALUE_ERROR = {
  length: 0,
  notSupported: 1,
  flags: 2,
  emptyList: 3,
  cookie: 4,
  stackMismatch: 5,
} as const;

/** Subcodes of code 12, MRI Validation Failure. */
export const MRI_ERROR = { tooWild: 0, ipVersion: 1, ingressFilter: 2 } as const;

const PERMANENT: ReadonlySet<number> = new Set([
  ERROR_CODE.hopLimitExceeded,
  ERROR_CODE.unknownNslpId,
  ERROR_CODE.endpointFound,
  ERROR_CODE.messageTooLarge,
  ERROR_CODE.invalidIpTtl,
  ERROR_CODE.mriValidation,
]);

/** The class that an error code belongs to. */
export function errorClass(code: number): number {
  return PERMANENT.has(code) ? ERROR_CLASS.permanent : ERROR_CLASS.protocol;
}

/** What is wrong with a message, as an Error message says it. */
export interface GistFault {
  readonly code: number;
  readonly subcode: number;
  readonly info: readonly ErrorInfo[];
  /** For a person. */
  readonly message: string;
}

/** A message that is not GIST as RFC 5971 has it, with all that an Error message about it needs. */
export class GistWireError extends WireError implements GistFault {
  override readonly name: string = "GistWireError";
  readonly class: number;
  readonly code: number;
  readonly subcode: number;
  readonly info: readonly ErrorInfo[];

  constructor(
    message: string,
    offset: number,
    code: number,
    subcode: number,
    info: readonly ErrorInfo[] = [],
  ) {
    super(message, offset);
    this.class = errorClass(code);
    this.code = code;
    this.subcode = subcode;
    this.info = info;
  }
}
