/** What a GIST-aware NAT left in a message (RFC 5971 section 7.2.2). */
import { ByteReader, WireError } from "../base/wire.js";
import type { Mri, NatTraversal } from "./wire/messages.js";
import { readMri } from "./wire/mri.js";

const MRI_AT = 4;

/** The MRI of the Query before the first NAT changed it; undefined when it cannot be read. */
export function originalMri({ value }: NatTraversal): Mri | undefined {
  const reader = new ByteReader(value.subarray(MRI_AT, MRI_AT + 4 * (value[0] ?? 0)));
  try {
    const mri = readMri(reader);
    return reader.remaining === 0 ? mri : undefined;
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}
