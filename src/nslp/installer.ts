/**
 * Gathers the installations of one turn of the event loop into one batch for the packet path. When a batch is refused
 * (the table is full) its members are tried one by one, so that one flow too many does not cost the others theirs.
 * The keys of what is installed are the installer's: once the packet path has them, or has refused, they are wiped.
 */
import type { Flow } from "../base/flow.js";
import type { Datapath, Installation } from "../traffic/datapath.js";

interface Waiting {
  readonly installation: Installation;
  readonly done: (installed: boolean) => void;
}

function finish({ installation, done }: Waiting, installed: boolean): void {
  installation.authentication?.association.key.fill(0);
  done(installed);
}

export class Installer {
  readonly #datapath: Datapath;
  #waiting: Waiting[] = [];

  constructor(datapath: Datapath) {
    this.#datapath = datapath;
  }

  /** Resolves to whether the permission is enforced. Never rejects. */
  install(installation: Installation): Promise<boolean> {
    return new Promise((done) => {
      if (this.#waiting.length === 0) setImmediate(() => void this.#flush());
      this.#waiting.push({ installation, done });
    });
  }

  async remove(flow: Flow): Promise<void> {
    await this.#datapath.remove([flow]).catch(() => undefined);
  }

  async #flush(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    if (await this.#try(batch)) return batch.forEach((one) => finish(one, true));
    for (const one of batch) finish(one, batch.length > 1 && (await this.#try([one])));
  }

  async #try(batch: readonly Waiting[]): Promise<boolean> {
    try {
      await this.#datapath.install(batch.map(({ installation }) => installation));
      return true;
    } catch {
      return false;
    }
  }
}
