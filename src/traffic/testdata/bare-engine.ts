/** Options of an engine without queues and kernel sets: its table alone. */
export const BARE_ENGINE = {
  refusals: 4,
  enforce: 1,
  refuseMark: 1,
  openMark: 0,
  holdPackets: 4,
  holdPacketsPerFlow: 4,
  holdTime: 1000,
  queues: [],
  set4: "",
  set6: "",
  insertSet4: "",
  insertSet6: "",
  knownSet4: "",
  knownSet6: "",
} as const;
