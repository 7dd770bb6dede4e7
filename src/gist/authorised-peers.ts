/**
 * Authorised Peer Database (RFC 5971 section 4.4.2): which of the nodes that the trusted authority signed may be peers.
 */

export interface AuthorisedPeer {
  /** "router.example.net", "*.example.net" (any one label there), or "*" (any name). */
  readonly name: string;
  readonly action: "accept" | "refuse";
}

interface Entry {
  readonly matches: (name: string) => boolean;
  readonly accepted: boolean;
}

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const PATTERN = new RegExp(`^(?:\\*|(?:\\*\\.)?${LABEL}(?:\\.${LABEL})*\\.?)$`);
const LONGEST_NAME = 255;
const MOST_ENTRIES = 10_000;

export class AuthorisedPeers {
  #entries: readonly Entry[] = [];

  constructor(peers: readonly AuthorisedPeer[] = []) {
    this.set(peers);
  }

  /** Puts another list in place of the one so far. Throws RangeError, and changes nothing, on a pattern that is none. */
  set(peers: readonly AuthorisedPeer[]): void {
    if (peers.length > MOST_ENTRIES)
      throw new RangeError(`${peers.length} authorised peers are more than ${MOST_ENTRIES}`);
    this.#entries = peers.map(entryOf);
  }

  /**
   * Whether a peer with these names passes. The first entry that fits one of them decides; a list in which none fits
   * refuses. An empty list lets everybody pass whom the trusted authority signed.
   *
   * @param names dNSNames of its certificate, else its common name; none where there is no certificate
   */
  admits(names: readonly string[]): boolean {
    if (this.#entries.length === 0) return true;
    const plain = names.map(plainName);
    return this.#entries.find((entry) => plain.some(entry.matches))?.accepted === true;
  }
}

function entryOf({ name, action }: AuthorisedPeer): Entry {
  const pattern = plainName(name);
  if (name.length > LONGEST_NAME || !PATTERN.test(name.toLowerCase()))
    throw new RangeError(`"${name}" is neither a name nor a name with "*." before it`);
  return { matches: matcher(pattern), accepted: action === "accept" };
}

function matcher(pattern: string): (name: string) => boolean {
  if (pattern === "*") return () => true;
  if (!pattern.startsWith("*.")) return (name) => name === pattern;
  const parent = pattern.slice(1);
  return (name) => name.endsWith(parent) && isLabel(name.slice(0, -parent.length));
}

/** A certificate for "*.example.net" is no host of that domain. */
function isLabel(text: string): boolean {
  return text !== "" && text !== "*" && !text.includes(".");
}

/** Names compare without regard to case; a dot at the end says only that the name is complete. */
function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}
