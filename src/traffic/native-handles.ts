/** What the addon gives out and takes back; of no meaning here. */
declare const opaque: unique symbol;

/** An engine inside the addon. */
export interface Handle {
  readonly [opaque]: "engine";
}

/** The tables of XDP programs inside the addon. */
export interface XdpHandle {
  readonly [opaque]: "xdp";
}

/** A watch of the addon for changes of links. */
export interface LinkWatch {
  readonly [opaque]: "watch";
}

/** One end of packets' way through a relay, inside the addon. */
export interface RelayHandle {
  readonly [opaque]: "relay";
}
