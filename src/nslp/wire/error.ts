/** What the PBS decoder throws. */
import type { Flow } from "../../base/flow.js";
import { WireError } from "../../base/wire.js";
import { INFO_CODE, type InfoCode } from "./messages.js";

/** A message that is not PBS as docs/protocol.md has it, with what a Notify about it has to say. */
export class PbsWireError extends WireError {
  override readonly name: string = "PbsWireError";
  readonly infoCode: InfoCode;
  /** The type of the object at fault; 0 for the message header or the message as a whole. */
  readonly objectType: number;
  /** The flow of the message, where its FID could be read before the fault. */
  flow: Flow | undefined;

  constructor(message: string, offset: number, objectType: number, infoCode: InfoCode = INFO_CODE.malformed) {
    super(message, offset);
    this.objectType = objectType;
    this.infoCode = infoCode;
  }
}
