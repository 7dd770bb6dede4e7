/** Which packet engine the routers of every testbed of this process have. */
export type EngineMode = "auto" | "xdp" | "nfqueue";

let mode: EngineMode = "auto";

export function setEngineMode(chosen: EngineMode): void {
  mode = chosen;
}

/** Hosts have nothing to forward, so that only a router can be told to have "xdp". */
export function engineOf(forwards: boolean): EngineMode {
  return forwards || mode === "nfqueue" ? mode : "auto";
}
