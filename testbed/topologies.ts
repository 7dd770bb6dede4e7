/** Networks as data. Addresses of `three-node` are those of the IETF 74 slides. */

export interface Link {
  /** A shared wire; the interface inside the node has its name. */
  readonly wire: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface Route {
  /** A prefix, or "default". */
  readonly to: string;
  readonly via: string;
}

export interface NodeShape {
  readonly name: string;
  readonly forwards: boolean;
  /** Runs pbsd. */
  readonly pbs: boolean;
  readonly links: readonly Link[];
  readonly routes: readonly Route[];
}

export interface Topology {
  readonly name: string;
  readonly summary: string;
  readonly nodes: readonly NodeShape[];
}

/** The last number of the node's address on a wire: 192.168.SUBNET.HOST/24 and fdSUBNET::HOST/64. */
function link(wire: string, subnet: number, host: number): Link {
  return { wire, ipv4: `192.168.${subnet}.${host}/24`, ipv6: `fd${subnet}::${host}/64` };
}

function via(to: number | "default", subnet: number, host: number): Route[] {
  const [ipv4, ipv6] = to === "default" ? ["default", "default"] : [`192.168.${to}.0/24`, `fd${to}::/64`];
  return [
    { to: ipv4, via: `192.168.${subnet}.${host}` },
    { to: ipv6, via: `fd${subnet}::${host}` },
  ];
}

function host(name: string, at: Link, routes: readonly Route[]): NodeShape {
  return { name, forwards: false, pbs: true, links: [at], routes };
}

function router(name: string, links: readonly Link[], routes: readonly Route[] = [], pbs = true): NodeShape {
  return { name, forwards: true, pbs, links, routes };
}

const threeNode: Topology = {
  name: "three-node",
  summary: "two senders, one router, two receivers",
  nodes: [
    host("sender1", link("left", 20, 1), via("default", 20, 3)),
    host("sender2", link("left", 20, 2), via("default", 20, 3)),
    router("router", [link("left", 20, 3), link("right", 21, 3)]),
    host("receiver1", link("right", 21, 4), via("default", 21, 3)),
    host("receiver2", link("right", 21, 5), via("default", 21, 3)),
  ],
};

const chain: Topology = {
  name: "chain",
  summary: "three routers in a row, the middle one without PBS",
  nodes: [
    host("sender", link("left", 20, 1), via("default", 20, 3)),
    router("first", [link("left", 20, 3), link("near", 22, 3)], [...via(21, 22, 6), ...via(23, 22, 6)]),
    router(
      "middle",
      [link("near", 22, 6), link("far", 23, 6)],
      [...via(20, 22, 3), ...via(21, 23, 9)],
      false,
    ),
    router("last", [link("far", 23, 9), link("right", 21, 3)], [...via(20, 23, 6), ...via(22, 23, 6)]),
    host("receiver", link("right", 21, 4), via("default", 21, 3)),
  ],
};

const bypass: Topology = {
  name: "bypass",
  summary: "a chain with a second router without PBS beside the middle one",
  nodes: [
    ...chain.nodes,
    router("aside", [link("near", 22, 7), link("far", 23, 7)], [...via(20, 22, 3), ...via(21, 23, 9)], false),
  ],
};

const diamond: Topology = {
  name: "diamond",
  summary: "two routers side by side between sender and receiver",
  nodes: [
    host("sender", link("left", 20, 1), via("default", 20, 3)),
    router("upper", [link("left", 20, 3), link("right", 21, 3)]),
    router("lower", [link("left", 20, 6), link("right", 21, 6)]),
    host("receiver", link("right", 21, 4), via("default", 21, 3)),
  ],
};

const detour: Topology = {
  name: "detour",
  summary: "a router between sender and receiver, and a relay at the receiver's wire behind another router",
  nodes: [
    host("sender", link("left", 20, 1), [...via("default", 20, 3), ...via(24, 20, 6)]),
    router("upper", [link("left", 20, 3), link("right", 21, 3)], via(24, 20, 6)),
    router("side", [link("left", 20, 6), link("back", 24, 6)], via(21, 24, 8)),
    router("relay", [link("back", 24, 8), link("right", 21, 8)], via(20, 24, 6)),
    host("receiver", link("right", 21, 4), [...via("default", 21, 3), ...via(24, 21, 8)]),
  ],
};

const multihomed: Topology = {
  name: "multihomed",
  summary: "a sender with two addresses, each behind a router of its own",
  nodes: [
    {
      ...host("sender", link("left", 20, 1), via("default", 20, 3)),
      links: [link("left", 20, 1), link("other", 25, 1)],
    },
    router("upper", [link("left", 20, 3), link("right", 21, 3)], via(25, 21, 6)),
    router("lower", [link("other", 25, 6), link("right", 21, 6)], via(20, 21, 3)),
    host("receiver", link("right", 21, 4), [...via("default", 21, 3), ...via(25, 21, 6)]),
  ],
};

export const TOPOLOGIES: readonly Topology[] = [threeNode, chain, bypass, diamond, detour, multihomed];

/** Wires of a topology, in the order in which nodes name them. */
export function wiresOf(topology: Topology): readonly string[] {
  return [...new Set(topology.nodes.flatMap((node) => node.links.map(({ wire }) => wire)))];
}
