/** What `pbsctl status` shows. */
import type { Milliseconds } from "../base/units.js";
import type { AdmissionView } from "../nslp/admission/admission.js";
import type { DatapathStatus } from "../traffic/datapath.js";

/** The daemon, as far as only its composition root knows it. */
export interface DaemonFacts {
  readonly name: string;
  readonly mode: string;
  readonly version: string;
  readonly config: string;
}

export interface StatusView extends DaemonFacts {
  readonly pid: number;
  readonly uptime: Milliseconds;
  readonly identity: string;
  readonly datapath: DatapathStatus;
  readonly pending: number;
  /** Messages that wait for their turn. */
  readonly admission: AdmissionView;
  /** Socket of the gistd that does the signalling, and knows of associations and routing states; null: pbsd itself. */
  readonly service: string | null;
  readonly associations: number;
  readonly routingStates: { readonly querying: number; readonly responding: number };
  readonly counters: {
    readonly pbs: Readonly<Record<string, number>>;
    readonly gist: Readonly<Record<string, number>>;
    readonly firewall: Readonly<Record<string, number>>;
  };
}
