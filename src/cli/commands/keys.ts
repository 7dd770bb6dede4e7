import { readText } from "../../authorization/files.js";
import {
  type CertificateDescription,
  describeCertificate,
  describeRequest,
  importCertificate,
  issueCertificate,
  KEY_CHOICES,
  type KeyChoice,
  KeysError,
  makeAuthority,
  makeHostKey,
  type RequestDescription,
} from "../../authorization/keys.js";
import { AddressError, IpAddress } from "../../base/address.js";
import { type Command, type Context, show } from "../command.js";
import {
  CommandError,
  EXIT,
  numberOf,
  type Options,
  type Parsed,
  requiredText,
  textOf,
  textsOf,
  UsageError,
} from "../errors.js";
import { fields } from "../table.js";

const MAX_DAYS = 36_500;

const TYPE_HELP = "  --type TYPE     p256 (default), rsa2048 or ed25519";
const DAYS_HELP = "  --days N        how long the certificate is valid";
const FORCE_HELP = "  --force         overwrite files that are there";

const caCommand = keysCommand({
  name: "keys ca",
  usage: "--out DIR --name NAME [--type TYPE] [--days N] [--force]",
  summary: "Makes an authority: its key and certificate",
  help: `  --out DIR       directory to make them in
  --name NAME     its common name
${TYPE_HELP}\n${DAYS_HELP}\n${FORCE_HELP}`,
  options: {
    out: { type: "string" },
    name: { type: "string" },
    type: { type: "string" },
    days: { type: "string" },
  },
  act: (parsed) => {
    const made = makeAuthority({
      directory: requiredText(parsed, "out"),
      name: requiredText(parsed, "name"),
      ...typeOf(parsed),
      ...daysOf(parsed),
      ...forceOf(parsed),
    });
    const { keyFile, certificateFile, description } = made;
    return { keyFile, certificateFile, certificate: description };
  },
});

const hostCommand = keysCommand({
  name: "keys host",
  usage: "--out PREFIX --name NAME --address ADDRESS... [--type TYPE] [--force]",
  summary: "Makes a host's private key and a request for its certificate",
  help: `  --out PREFIX    makes PREFIX.key and PREFIX.csr
  --name NAME     the host's common name
  --address A     an address of the host; several times, for every address that it sends from or receives at
${TYPE_HELP}\n${FORCE_HELP}`,
  options: {
    out: { type: "string" },
    name: { type: "string" },
    address: { type: "string", multiple: true },
    type: { type: "string" },
  },
  act: (parsed) => {
    const addresses = addressesOf(parsed);
    if (addresses.length === 0) throw new UsageError("--address is missing");
    return makeHostKey({
      prefix: requiredText(parsed, "out"),
      commonName: requiredText(parsed, "name"),
      addresses,
      ...typeOf(parsed),
      ...forceOf(parsed),
    });
  },
});

const issueCommand = keysCommand({
  name: "keys issue",
  usage: "--ca DIR --csr FILE --out FILE [--address ADDRESS...] [--days N] [--force]",
  summary: "Issues a certificate for a request, as an authority",
  help: `  --ca DIR        directory of the authority, as "keys ca" made it
  --csr FILE      the request
  --out FILE      the certificate
  --address A     only these addresses, in place of those that the request asks for
${DAYS_HELP}\n${FORCE_HELP}`,
  options: {
    ca: { type: "string" },
    csr: { type: "string" },
    out: { type: "string" },
    address: { type: "string", multiple: true },
    days: { type: "string" },
  },
  act: (parsed) => {
    const addresses = addressesOf(parsed);
    const { certificateFile, description } = issueCertificate({
      authorityDirectory: requiredText(parsed, "ca"),
      csrFile: requiredText(parsed, "csr"),
      outFile: requiredText(parsed, "out"),
      ...(addresses.length > 0 && { addresses }),
      ...daysOf(parsed),
      ...forceOf(parsed),
    });
    return { certificateFile, certificate: description };
  },
});

const showCommand = keysCommand({
  name: "keys show",
  usage: "FILE",
  summary: "Shows what a certificate, or a request for one, says",
  help: "  FILE  a certificate or request in PEM",
  options: {},
  file: true,
  act: (parsed) => describePem(readText(parsed.positionals[0] ?? "")),
});

const importCommand = keysCommand({
  name: "keys import",
  usage: "--certificate FILE --key FILE --authority FILE... --out PREFIX [--force]",
  summary: "Takes over a certificate and key made elsewhere, after checking that pbsd can use them",
  help: `  --certificate FILE  certificate in PEM
  --key FILE          its private key in PEM
  --authority FILE    certificate of an authority that it must be from; several times
  --out PREFIX        makes PREFIX.pem and PREFIX.key
${FORCE_HELP}`,
  options: {
    certificate: { type: "string" },
    key: { type: "string" },
    authority: { type: "string", multiple: true },
    out: { type: "string" },
  },
  act: (parsed) => {
    const authorityFiles = textsOf(parsed, "authority");
    if (authorityFiles.length === 0) throw new UsageError("--authority is missing");
    const { keyFile, certificateFile, description } = importCertificate({
      certificateFile: requiredText(parsed, "certificate"),
      keyFile: requiredText(parsed, "key"),
      authorityFiles,
      prefix: requiredText(parsed, "out"),
      ...forceOf(parsed),
    });
    return { keyFile, certificateFile, certificate: description };
  },
});

export const keysCommands: readonly Command[] = [
  caCommand,
  hostCommand,
  issueCommand,
  showCommand,
  importCommand,
];

function describePem(pem: string): KeysResult {
  if (pem.includes("CERTIFICATE REQUEST-----")) return { request: describeRequest(pem) };
  return { certificate: describeCertificate(pem) };
}

interface KeysResult {
  readonly keyFile?: string;
  readonly requestFile?: string;
  readonly certificateFile?: string;
  readonly certificate?: CertificateDescription;
  readonly request?: RequestDescription;
}

interface KeysCommand extends Pick<Command, "name" | "usage" | "summary" | "help"> {
  readonly options: Options;
  /** Takes one file as its argument, and writes none. */
  readonly file?: boolean;
  readonly act: (parsed: Parsed) => KeysResult;
}

function keysCommand({ options, file = false, act, ...command }: KeysCommand): Command {
  const count = file ? 1 : 0;
  return {
    ...command,
    options: file ? options : { ...options, force: { type: "boolean" } },
    arguments: { min: count, max: count },
    run: async (context: Context, parsed) => {
      const result = attempt(() => act(parsed));
      await show(context, result, () => resultText(result));
      return EXIT.done;
    },
  };
}

function attempt(act: () => KeysResult): KeysResult {
  try {
    return act();
  } catch (error) {
    if (error instanceof KeysError) throw new CommandError("keys", error.message, "nothing was changed");
    if (typeof (error as NodeJS.ErrnoException).syscall === "string")
      throw new CommandError("file", (error as Error).message, "check the path and its permissions");
    throw error;
  }
}

function resultText(result: KeysResult): string {
  const { keyFile, requestFile, certificateFile, certificate, request } = result;
  const lines: (readonly [string, string])[] = [];
  if (keyFile !== undefined) lines.push(["private key", keyFile]);
  if (requestFile !== undefined) lines.push(["request", requestFile]);
  if (certificateFile !== undefined) lines.push(["certificate", certificateFile]);
  if (certificate !== undefined) lines.push(...certificateLines(certificate));
  if (request !== undefined) lines.push(...requestLines(request));
  return fields(lines);
}

function requestLines({ commonName, addresses, keyType }: RequestDescription): (readonly [string, string])[] {
  return [
    ["request of", commonName],
    ...addresses.map((address) => ["address", address.toString()] as const),
    ["key", keyType],
  ];
}

function certificateLines(certificate: CertificateDescription): (readonly [string, string])[] {
  const { subject, issuer, serial, notBefore, notAfter, addresses, keyType, authority } = certificate;
  return [
    ["subject", `${subject}${authority ? " (an authority)" : ""}`],
    ["issuer", issuer],
    ["serial", serial],
    ["valid", `${notBefore.toISOString()} to ${notAfter.toISOString()}`],
    ...addresses.map((address) => ["address", address.toString()] as const),
    ["key", keyType],
    ["fingerprint", certificate.fingerprint],
    ["identity", certificate.identity],
  ];
}

function typeOf(parsed: Parsed): { type?: KeyChoice } {
  const given = textOf(parsed, "type");
  if (given === undefined) return {};
  const type = KEY_CHOICES.find((choice) => choice === given);
  if (type === undefined) throw new UsageError(`--type "${given}" is not one of: ${KEY_CHOICES.join(", ")}`);
  return { type };
}

function daysOf(parsed: Parsed): { days?: number } {
  const days = numberOf(parsed, "days", MAX_DAYS);
  if (days === 0) throw new UsageError("--days is at least 1");
  return days === undefined ? {} : { days };
}

function forceOf(parsed: Parsed): { force?: boolean } {
  return parsed.values["force"] === true ? { force: true } : {};
}

function addressesOf(parsed: Parsed): readonly IpAddress[] {
  return textsOf(parsed, "address").map((text) => {
    try {
      return IpAddress.parse(text);
    } catch (error) {
      if (error instanceof AddressError) throw new UsageError(`--address: ${error.message}`);
      throw error;
    }
  });
}
