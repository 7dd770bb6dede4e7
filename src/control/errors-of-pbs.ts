/** What errors of the PBS node are to somebody who asked over the control socket. */
import { AddressError } from "../base/address.js";
import { CannotAuthenticate, NoSuchFlow } from "../nslp/view.js";
import { ControlError } from "./error.js";

/** The {@link ControlError} that an error stands for; undefined for one that nobody foresaw. */
export function toControlError(error: unknown): ControlError | undefined {
  if (error instanceof NoSuchFlow)
    return new ControlError(
      404,
      "no-such-flow",
      error.message,
      "see the ids in: pbsctl flows; pbsctl pending",
    );
  if (error instanceof CannotAuthenticate)
    return new ControlError(409, "cannot-authenticate", error.message, error.remedy);
  if (error instanceof AddressError)
    return new ControlError(
      400,
      "bad-request",
      error.message,
      "write: tcp 192.168.20.1:4000 > 192.168.21.4:80",
    );
  return undefined;
}
