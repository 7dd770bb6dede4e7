/** Numbers and layouts of rtnetlink messages (linux/rtnetlink.h), where the netlink package is not of use. */
import { endianness } from "node:os";
import netlink from "netlink";

export const AF = { 4: 2, 6: 10 } as const;
export const DUMP = 0x300;
export const KERNEL_ANSWERS_WITHIN = 2000;

const LITTLE_ENDIAN = endianness() === "LE";
const ATTRIBUTE_HEADER = 4;

/** netlink numbers stand in the byte order of the machine. */
export function readU32(buffer: Buffer, offset: number): number {
  return LITTLE_ENDIAN ? buffer.readUInt32LE(offset) : buffer.readUInt32BE(offset);
}

export function readU16(buffer: Buffer, offset: number): number {
  return LITTLE_ENDIAN ? buffer.readUInt16LE(offset) : buffer.readUInt16BE(offset);
}

/** A number of 32 bits as an attribute's value. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  if (LITTLE_ENDIAN) bytes.writeUInt32LE(value);
  else bytes.writeUInt32BE(value);
  return bytes;
}

/** One attribute with its header and its padding. */
export function attribute(type: number, value: Uint8Array): Buffer {
  const length = ATTRIBUTE_HEADER + value.length;
  const bytes = Buffer.alloc((length + 3) & ~3);
  if (LITTLE_ENDIAN) {
    bytes.writeUInt16LE(length, 0);
    bytes.writeUInt16LE(type, 2);
  } else {
    bytes.writeUInt16BE(length, 0);
    bytes.writeUInt16BE(type, 2);
  }
  bytes.set(value, ATTRIBUTE_HEADER);
  return bytes;
}

/** The attributes in these bytes by type, the last of each type. Throws when they are malformed. */
export function attributesOf(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  netlink.parseAttributes(bytes, ({ type, data }) => {
    found.set(type, Buffer.isBuffer(data) ? data : Buffer.concat([data].flat()));
  });
  return found;
}
