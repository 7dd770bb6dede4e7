/** The one place where the parts are put together. */
import type { Identity } from "../authorization/keys.js";
import { RulePolicy } from "../authorization/policy.js";
import { Signer } from "../authorization/signing.js";
import { Trust } from "../authorization/trust.js";
import type { Logger } from "../base/log.js";
import { systemRandom } from "../base/random.js";
import { SystemTime, type Time } from "../base/time.js";
import type { Config } from "../config/config.js";
import { examine } from "../control/doctor/doctor.js";
import { thisMachine } from "../control/doctor/machine.js";
import { ControlServer } from "../control/server.js";
import type { Mri } from "../gist/wire/messages.js";
import { flowOf } from "../nslp/mri.js";
import { PbsNode } from "../nslp/node.js";
import { Firewall } from "../traffic/firewall.js";
import { openEngine } from "../traffic/engine.js";
import { AllBlocks } from "../traffic/blocks.js";
import { Connections } from "../traffic/connections.js";
import { Paths } from "../traffic/paths.js";
import { Relays } from "../traffic/relays.js";
import { PlaceBlocker } from "../traffic/place-block.js";
import { SourceBlocker } from "../traffic/source-block.js";
import { identityOf, renewedIdentity } from "./lifecycle.js";
import { datapathOptions, firewallOptions, pbsOptions, relaysOptions, routingStatesFor } from "./parts.js";
import { preflight } from "./preflight.js";
import { ownSignalling, remoteSignalling, type Signalling } from "./signalling.js";
import { Started } from "./started.js";
import { version } from "./version.js";

export class Daemon {
  readonly #pbs: PbsNode;
  readonly #signalling: Signalling;
  readonly #started: Started;
  #config: Config;
  #policy: RulePolicy;
  #identity: Identity;

  private constructor(
    config: Config,
    policy: RulePolicy,
    parts: {
      readonly pbs: PbsNode;
      readonly signalling: Signalling;
      readonly started: Started;
      readonly identity: Identity;
    },
  ) {
    this.#config = config;
    this.#policy = policy;
    this.#pbs = parts.pbs;
    this.#signalling = parts.signalling;
    this.#started = parts.started;
    this.#identity = parts.identity;
  }

  /**
   * Closes the machine, then starts queues, signalling and control. Rejects with an error for failureText: before the
   * machine was closed if it can be known by then, and otherwise with the rules in place.
   */
  static async start(config: Config, log: Logger): Promise<Daemon> {
    const identity = identityOf(config.identity);
    const signer = new Signer(identity.privateKey, identity.certificateDer);
    const trust = new Trust(identity.authoritiesPem);
    const policy = new RulePolicy(config.rules);
    await preflight(config);
    const firewall = await Firewall.probe(firewallOptions(config));
    await firewall.install();
    log.info({ backend: firewall.backend }, `rules are in place: ${config.node.mode}`);

    const started = new Started();
    try {
      const time = new SystemTime();
      const options = datapathOptions(config, log, time);
      const datapath = await openEngine(config.packets.engine, options, await firewall.obstacle());
      started.add(() => datapath.stop());
      const relays = Relays.open(relaysOptions(config));
      started.add(async () => relays.stop());
      const paths = await Paths.open({
        paths: config.path,
        isLocal: (address) => signalling.isLocal(address),
        steer: (flow, path) => datapath.steer(flow, path),
        relayDevice: (relay) => relays.deviceOf(relay),
        logger: log,
      });
      started.add(() => paths.stop());
      const connections = new Connections(log);
      started.add(async () => connections.close());
      const sources = new SourceBlocker(datapath);
      const places = PlaceBlocker.of(firewall.backend, time, log, datapath);
      started.add(() => places.stop());
      const signalling = signallingOf(config, identity, log, time, paths);
      const pbs = new PbsNode({
        time,
        random: systemRandom,
        isLocal: signalling.isLocal,
        gist: signalling.gist,
        datapath,
        trust,
        signer,
        policy,
        // A gistd sends by the routing table's paths only, so there flows stay on them.
        ...(config.signalling.service === null && { paths }),
        connections,
        blocker: sources,
        places,
        logger: log,
        options: pbsOptions(config),
      });
      await signalling.start();
      started.add(() => signalling.stop());
      // Held packets raise events from now on, and they need signalling.
      pbs.start();
      started.add(() => pbs.stop());
      const daemon = new Daemon(config, policy, { pbs, signalling, started, identity });
      const control = await ControlServer.start(
        {
          facts: { name: config.node.name, mode: config.node.mode, version, config: config.file },
          time,
          pbs,
          gist: signalling.view,
          routingStates: signalling.routes,
          datapath,
          isOwnAddress: signalling.isLocal,
          policy: () => daemon.#policy,
          config: () => daemon.#config,
          firewallCounters: async () => ({ ...(await firewall.counters()), ...relays.counters() }),
          blocks: new AllBlocks(sources, places),
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

  /**
   * Takes over what can be taken over while running: certificates, rules and peers. Flows that have a permission keep
   * it, and associations that stand stay.
   */
  reload(config: Config): void {
    const identity = renewedIdentity(this.#identity, config.identity);
    const signer = new Signer(identity.privateKey, identity.certificateDer);
    const trust = new Trust(identity.authoritiesPem);
    this.#signalling.setIdentity(identity);
    this.#identity = identity;
    this.#pbs.setIdentity(signer, trust);
    this.#policy = new RulePolicy(config.rules);
    this.#pbs.setPolicy(this.#policy);
    this.#signalling.setPeers(config.peers);
    this.#config = {
      ...this.#config,
      identity: config.identity,
      rules: config.rules,
      peers: config.peers,
    };
  }

  /** Kernel rules stay. Afterwards the process has to be ended: the signalling queue cannot be closed. */
  stop(): Promise<void> {
    return this.#started.stop();
  }
}

/** Signalling takes the path of its flow, in the direction in which this node may have moved it. */
function pathMark(paths: Paths, mri: Mri): number {
  const flow = paths.moved === 0 || mri.direction !== "downstream" ? undefined : flowOf(mri);
  return flow === undefined ? 0 : paths.mark(flow);
}

function signallingOf(config: Config, identity: Identity, log: Logger, time: Time, paths: Paths): Signalling {
  const { signalling, packets, node, peers } = config;
  if (signalling.service !== null)
    return remoteSignalling({
      path: signalling.service,
      name: `pbsd ${node.name}`,
      maxSessions: routingStatesFor(config),
      log,
      time,
    });
  return ownSignalling({
    peers,
    signalling,
    queue: packets.queueBase,
    maxRoutingStates: routingStatesFor(config),
    pathMark: (mri) => pathMark(paths, mri),
    identity,
    log,
    time,
  });
}
