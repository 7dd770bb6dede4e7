/** Network-Layer-Information (RFC 5971 appendix A.3.3). */
import type { IpAddress } from "../../base/address.js";
import { ms } from "../../base/units.js";
import type { ByteReader, ByteWriter } from "../../base/wire.js";
import { OBJECT_VALUE_ERROR } from "./errors.js";
import type { NetworkLayerInformation } from "./messages.js";
import { readAddress } from "./mri.js";
import { ValueFault } from "./tlv.js";
import { milliseconds, padding } from "./words.js";

/** First byte of 224.0.0.0/4, above which there are no hosts, and of ff00::/8. */
const FIRST_NOT_UNICAST_4 = 224;
const MULTICAST_6 = 0xff;

/**
 * Throws RangeError on an identity that is empty or too long, on a time that the field cannot hold, and on an address
 * that is no host's.
 */
export function writeNli(writer: ByteWriter, nli: NetworkLayerInformation): void {
  const { length } = nli.peerIdentity;
  if (length < 1 || length > 0xff)
    throw new RangeError(`a Peer-Identity of ${length} bytes cannot be written`);
  if (!Number.isInteger(nli.ipTtl) || nli.ipTtl < 0 || nli.ipTtl > 0xff)
    throw new RangeError(`an IP TTL of ${nli.ipTtl} cannot be written`);
  if (!isHost(nli.interfaceAddress))
    throw new RangeError(`an Interface-Address of ${nli.interfaceAddress} cannot be written`);
  writer
    .u8(length)
    .u8(nli.ipTtl)
    .u16(nli.interfaceAddress.family << 12)
    .u32(milliseconds(nli.validity, "routing-state validity"))
    .bytes(nli.peerIdentity)
    .zeros(padding(length))
    .bytes(nli.interfaceAddress.bytes);
}

/** Refuses (10/1) what this node cannot answer: validity 0, no identity, an address that is no host's. */
export function readNli(reader: ByteReader): NetworkLayerInformation {
  const start = reader.offset;
  const length = reader.u8();
  if (length === 0)
    throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, "the Peer-Identity is empty", start);
  const ipTtl = reader.u8();
  const version = reader.u16() >>> 12;
  if (version !== 4 && version !== 6)
    throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, `IP version ${version} is not known`, start + 2);
  const validity = reader.u32();
  if (validity === 0)
    throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, "the routing-state validity is 0", start + 4);
  // A copy, because it outlives the message: a view would keep the whole message in memory with the state.
  const peerIdentity = new Uint8Array(reader.bytes(length));
  reader.skip(padding(length));
  const addressAt = reader.offset;
  const interfaceAddress = readAddress(reader, version);
  if (!isHost(interfaceAddress))
    throw new ValueFault(
      OBJECT_VALUE_ERROR.notSupported,
      `the Interface-Address is ${interfaceAddress}`,
      addressAt,
    );
  return { ipTtl, validity: ms(validity), peerIdentity, interfaceAddress };
}

/** Neither unspecified, nor multicast, nor broadcast: answers go there. */
export function isHost(address: IpAddress): boolean {
  const first = address.bytes[0] ?? 0;
  if (address.family === 4 ? first >= FIRST_NOT_UNICAST_4 : first === MULTICAST_6) return false;
  return !address.isUnspecified;
}
