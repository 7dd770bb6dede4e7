/** All scenarios, in the order in which scripts/test runs them; at the end those that need a stock kernel. */
import { ask } from "./ask.js";
import { association } from "./association.js";
import { authentication } from "./authentication.js";
import { badinput } from "./badinput.js";
import { blackhole } from "./blackhole.js";
import { chain } from "./chain.js";
import { closed } from "./closed.js";
import { crash } from "./crash.js";
import { flood } from "./flood.js";
import { forgery } from "./forgery.js";
import { hostile } from "./hostile.js";
import { insider } from "./insider.js";
import { interop } from "./interop.js";
import { kernelAh } from "./kernel-ah.js";
import { legacy } from "./legacy.js";
import { load } from "./load.js";
import { lossy } from "./lossy.js";
import { narrow } from "./narrow.js";
import { netem } from "./netem.js";
import { offpath } from "./offpath.js";
import { open } from "./open.js";
import { pathchange } from "./pathchange.js";
import { reactions } from "./reactions.js";
import { refresh } from "./refresh.js";
import { relay } from "./relay.js";
import { restart } from "./restart.js";
import { roundtrip } from "./roundtrip.js";
import type { Scenario } from "./scenario.js";
import { service } from "./service.js";
import { summary } from "./summary.js";
import { sources } from "./sources.js";
import { spoof } from "./spoof.js";
import { stop } from "./stop.js";
import { traffic } from "./traffic.js";
import { volume } from "./volume.js";

export const SCENARIOS: readonly Scenario[] = [
  closed,
  traffic,
  volume,
  stop,
  refresh,
  summary,
  ask,
  restart,
  service,
  authentication,
  forgery,
  narrow,
  interop,
  hostile,
  chain,
  crash,
  pathchange,
  association,
  flood,
  insider,
  spoof,
  blackhole,
  roundtrip,
  relay,
  sources,
  reactions,
  offpath,
  lossy,
  load,
  open,
  legacy,
  badinput,
  kernelAh,
  netem,
];
