/** NAT-Traversal (RFC 5971 appendix A.3.8): its shape is checked, its value is kept as bytes. */
import { ByteReader, WireError } from "../../base/wire.js";
import type { NatTraversal } from "./messages.js";
import { padding } from "./words.js";

/** The value is a view into the input. */
export function readNatTraversal(reader: ByteReader): NatTraversal {
  const start = reader.offset;
  const value = reader.bytes(reader.remaining);
  checkShape(new ByteReader(value, start));
  return { value };
}

/** Steps over original MRI, list of translated types and what each NAT left; they have to fill the value. */
function checkShape(reader: ByteReader): void {
  const mriWords = reader.u8();
  const types = reader.u8();
  const nats = reader.u8();
  reader.skip(1 + 4 * mriWords + 2 * types + padding(2 * types));
  for (let i = 0; i < nats; i++) {
    const length = reader.u16();
    reader.skip(length + padding(2 + length));
  }
  if (reader.remaining > 0) throw new WireError(`${reader.remaining} bytes are left over`, reader.offset);
}
