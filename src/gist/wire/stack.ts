/** Stack-Proposal and Stack-Configuration-Data (RFC 5971 appendices A.3.4 and A.3.5). */
import { ms } from "../../base/units.js";
import type { ByteReader, ByteWriter } from "../../base/wire.js";
import { OBJECT_VALUE_ERROR } from "./errors.js";
import type { ProtocolOption, StackConfiguration, StackProfile } from "./messages.js";
import { ValueFault } from "./tlv.js";
import { milliseconds, padding } from "./words.js";

const DO_NOT_USE = 0x80;

/** Throws RangeError unless there are 1 to 255 profiles of 1 to 255 protocols. */
export function writeStackProposal(writer: ByteWriter, profiles: readonly StackProfile[]): void {
  checkCount("profiles", profiles.length, 1);
  writer.u8(profiles.length).zeros(3);
  for (const profile of profiles) {
    checkCount("protocols", profile.length, 1);
    writer.u8(profile.length);
    for (const protocol of profile) writer.u8(protocol);
    writer.zeros(padding(1 + profile.length));
  }
}

/** A proposal of no bytes is a value that is not supported (10/1), an empty list in it is 10/3. */
export function readStackProposal(reader: ByteReader): StackProfile[] {
  if (reader.remaining === 0)
    throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, "the object has no value", reader.offset);
  const count = readCount(reader, "there are no profiles");
  reader.skip(3);
  const profiles: StackProfile[] = [];
  for (let i = 0; i < count; i++) {
    const length = readCount(reader, "a profile has no protocols");
    const profile: number[] = [];
    for (let p = 0; p < length; p++) profile.push(reader.u8());
    profiles.push(profile);
    reader.skip(padding(1 + length));
  }
  return profiles;
}

function readCount(reader: ByteReader, ifNone: string): number {
  const count = reader.u8();
  if (count === 0) throw new ValueFault(OBJECT_VALUE_ERROR.emptyList, ifNone, reader.offset - 1);
  return count;
}

/** Throws RangeError on a hold time that the field cannot hold, more than 255 options, or data above 255 bytes. */
export function writeStackConfiguration(writer: ByteWriter, configuration: StackConfiguration): void {
  checkCount("options", configuration.options.length, 0);
  writer.u8(configuration.options.length).zeros(3).u32(milliseconds(configuration.holdTime, "hold time"));
  for (const option of configuration.options) {
    checkCount("bytes of an option", option.data.length, 0);
    writer
      .u8(option.protocol)
      .u8(option.profile)
      .u8(option.data.length)
      .u8(option.doNotUse ? DO_NOT_USE : 0)
      .bytes(option.data)
      .zeros(padding(option.data.length));
  }
}

/** The options' data are views into the input. */
export function readStackConfiguration(reader: ByteReader): StackConfiguration {
  const count = reader.u8();
  reader.skip(3);
  const holdTime = reader.u32();
  if (holdTime === 0)
    throw new ValueFault(OBJECT_VALUE_ERROR.notSupported, "the hold time is 0", reader.offset - 4);
  const options: ProtocolOption[] = [];
  for (let i = 0; i < count; i++) options.push(readOption(reader));
  return { holdTime: ms(holdTime), options };
}

function readOption(reader: ByteReader): ProtocolOption {
  const protocol = reader.u8();
  const profile = reader.u8();
  const length = reader.u8();
  const doNotUse = (reader.u8() & DO_NOT_USE) !== 0;
  const data = reader.bytes(length);
  reader.skip(padding(length));
  return { protocol, profile, doNotUse, data };
}

/** The first option that names a profile which the proposal does not have. */
export function danglingOption(
  profiles: readonly StackProfile[],
  configuration: StackConfiguration,
): ProtocolOption | undefined {
  return configuration.options.find((option) => option.profile > profiles.length);
}

function checkCount(name: string, count: number, lowest: number): void {
  if (count < lowest || count > 0xff) throw new RangeError(`${count} ${name} cannot be written`);
}
