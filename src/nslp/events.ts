/** Events for people and for `pbsctl events`. A listener that throws is logged and goes on. */
import type { OffPathProof } from "../authorization/entrances.js";
import type { Flow } from "../base/flow.js";
import { flowKey } from "../base/flow.js";
import type { Logger } from "../base/log.js";
import type { Time } from "../base/time.js";
import type { SessionId } from "../gist/wire/messages.js";
import type { AttackEvidence, PbsEvent, Role } from "./view.js";

export class EventLog {
  readonly #listeners = new Set<(event: PbsEvent) => void>();
  readonly #time: Time;
  readonly #logger: Logger;

  constructor(time: Time, logger: Logger) {
    this.#time = time;
    this.#logger = logger;
  }

  listen(listener: (event: PbsEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  report(
    type: PbsEvent["type"],
    about: {
      readonly id: SessionId | undefined;
      readonly flow: Flow | undefined;
      readonly role: Role | undefined;
    },
    detail: string,
    evidence?: AttackEvidence,
    offPath?: OffPathProof,
  ): void {
    if (this.#listeners.size === 0) return;
    const event: PbsEvent = {
      time: this.#time.wall(),
      type,
      id: about.id ?? null,
      flow: about.flow === undefined ? null : flowKey(about.flow),
      role: about.role ?? null,
      detail,
      ...(evidence && { evidence }),
      ...(offPath && { offPath }),
    };
    for (const listener of this.#listeners) this.#tell(listener, event);
  }

  #tell(listener: (event: PbsEvent) => void, event: PbsEvent): void {
    try {
      listener(event);
    } catch (error) {
      this.#logger.error({ error }, "a listener for PBS events failed");
    }
  }
}
