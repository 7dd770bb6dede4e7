/** The one place where the parts are put together. */
import { loadIdentity } from "../authorization/keys.js";
import { RulePolicy } from "../authorization/policy.js";
import { Signer } from "../authorization/signing.js";
import { Trust } from "../authorization/trust.js";
import type { Logger } from "../base/log.js";
import { systemRandom } from "../base/random.js";
import { SystemTime } from "../base/time.js";
import type { Config } from "../config/config.js";
import { examine } from "../control/doctor/doctor.js";
import { thisMachine } from "../control/doctor/machine.js";
import type { ControlParts } from "../control/routes.js";
import { ControlServer } from "../control/server.js";
import { GistNode } from "../gist/node.js";
import type { GistView } from "../gist/service.js";
import { SystemTransport } from "../gist/transport/system.js";
import { PbsNode } from "../nslp/node.js";
import { Firewall } from "../traffic/firewall.js";
import { NfqueueDatapath } from "../traffic/nfqueue.js";
import { datapathOptions, firewallOptions, gistOptions, pbsOptions, transportOptions } from "./parts.js";
import { preflight } from "./preflight.js";
import { version } from "./version.js";

/** What has been started, in this order; it is stopped in the opposite one. */
class Started {
  readonly #stops: (() => Promise<void> | void)[] = [];

  add(stop: () => Promise<void> | void): void {
    this.#stops.unshift(stop);
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0)) await stop();
  }
}

export class Daemon {
  readonly #pbs: PbsNode;
  readonly #started: Started;
  #config: Config;
  #policy: RulePolicy;

  private constructor(config: Config, policy: RulePolicy, pbs: PbsNode, started: Started) {
    this.#config = config;
    this.#policy = policy;
    this.#pbs = pbs;
    this.#started = started;
  }

  /**
   * Closes the machine, then starts queues, signalling and control. Rejects with an error for failureText: before the
   * machine was closed if it can be known by then, and otherwise with the rules in place.
   */
  static async start(config: Config, log: Logger): Promise<Daemon> {
    const identity = loadIdentity({
      certificateFile: config.identity.certificate,
      keyFile: config.identity.key,
      authorityFiles: config.identity.authorities,
    });
    const signer = new Signer(identity.privateKey, identity.certificateDer);
    const trust = new Trust(identity.authoritiesPem);
    const policy = new RulePolicy(config.rules);
    await preflight(config);
    const firewall = await Firewall.probe(firewallOptions(config));
    await firewall.install();
    log.info({ backend: firewall.backend }, "rules are in place: closed");

    const started = new Started();
    try {
      const time = new SystemTime();
      const datapath = NfqueueDatapath.open(datapathOptions(config, log, time));
      started.add(() => datapath.stop());
      const transport = new SystemTransport(transportOptions(config, identity, log, time));
      const isLocal: ControlParts["isOwnAddress"] = (address) => transport.isLocal(address);
      const common = { time, random: systemRandom, isLocal };
      const gist = new GistNode({
        ...common,
        identity: signer.identity,
        transport,
        log,
        options: gistOptions(config),
      });
      const pbs = new PbsNode({
        ...common,
        gist,
        datapath,
        trust,
        signer,
        policy,
        logger: log,
        options: pbsOptions(config),
      });
      await gist.start();
      started.add(() => gist.stop());
      // Held packets raise events from now on, and they need signalling.
      pbs.start();
      started.add(() => pbs.stop());
      const daemon = new Daemon(config, policy, pbs, started);
      const control = await ControlServer.start(
        {
          facts: { name: config.node.name, mode: config.node.mode, version, config: config.file },
          time,
          pbs,
          gist: () => withTransport(gist.view(), transport),
          datapath,
          isOwnAddress: isLocal,
          policy: () => daemon.#policy,
          config: () => daemon.#config,
          firewallCounters: () => firewall.counters(),
          doctor: () => examine(thisMachine, { config: daemon.#config, daemon: true }),
        },
        config.control,
        log,
      );
      started.add(() => control.close());
      return daemon;
    } catch (error) {
      await started.stop();
      throw error;
    }
  }

  /** Takes over what can be taken over while running: the rules. Flows that have a permission keep it. */
  reload(config: Config): void {
    this.#policy = new RulePolicy(config.rules);
    this.#pbs.setPolicy(this.#policy);
    this.#config = { ...this.#config, rules: config.rules };
  }

  /** Kernel rules stay. Afterwards the process has to be ended: the signalling queue cannot be closed. */
  stop(): Promise<void> {
    return this.#started.stop();
  }
}

function withTransport(view: GistView, transport: SystemTransport): GistView {
  return { ...view, counters: { ...view.counters, ...transport.counters() } };
}
