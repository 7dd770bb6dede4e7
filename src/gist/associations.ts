/** All messaging associations of a node: found by peer, opened, taken, and kept to one for each peer. */
import type { IpAddress } from "../base/address.js";
import { Association, type AssociationOwner } from "./association.js";
import { type GistContext, hex, siiHandle } from "./context.js";
import type { AssociationView, SiiHandle } from "./service.js";
import type { Connection } from "./transport/transport.js";

export class Associations implements AssociationOwner {
  readonly #context: GistContext;
  readonly #all = new Set<Association>();
  /** Live associations by Peer-Identity and Interface-Address. */
  readonly #byPeer = new Map<SiiHandle, Association>();
  /** Being opened, by peer and port. */
  readonly #opening = new Map<string, Association>();
  readonly #byConnection = new Map<Connection, Association>();

  constructor(context: GistContext) {
    this.#context = context;
  }

  get size(): number {
    return this.#all.size;
  }

  /** The live association to reuse: Peer-Identity and Interface-Address both match (RFC 5971 section 5.7.3). */
  find(identity: string, interfaceAddress: IpAddress): Association | undefined {
    return this.#byPeer.get(siiHandle(identity, interfaceAddress));
  }

  byHandle(handle: SiiHandle): Association | undefined {
    return this.#byPeer.get(handle);
  }

  of(connection: Connection): Association | undefined {
    return this.#byConnection.get(connection);
  }

  /** The association to this peer that is being opened, or a new one; undefined when there are too many. */
  open(identity: string, address: IpAddress, port: number): Association | undefined {
    const key = openingKey(identity, address, port);
    const opening = this.#opening.get(key);
    if (opening !== undefined) return opening;
    if (this.#full()) return undefined;
    const association = new Association(this.#context, this, { identity, address, initiator: true });
    this.#all.add(association);
    this.#opening.set(key, association);
    association.open(port, (connected) => {
      this.#opening.delete(key);
      if (connected !== undefined) this.#opened(association, connected);
    });
    return association;
  }

  /** A peer opened an association. Without TLS, or over the limit, it is closed at once. */
  accept(connection: Connection): void {
    const { peer } = connection;
    if (connection.protocol !== "tls" || peer === undefined || this.#full()) {
      this.#context.counters.count(peer === undefined ? "refused.not-tls" : "limited.associations");
      connection.close();
      return;
    }
    const association = new Association(this.#context, this, {
      identity: hex(peer.identity),
      address: connection.remoteAddress,
      initiator: false,
    });
    this.#all.add(association);
    this.#byConnection.set(connection, association);
    association.accept(connection);
  }

  /**
   * The peer has this Interface-Address: from now on the association is found by it. Where two nodes open an
   * association to each other at the same time, both keep the one whose initiator has the lower Peer-Identity; an
   * association that is older has outlived its peer's memory, and gives way to the new one. The other carries what is
   * still on its way and closes when its hold time is over.
   */
  learn(association: Association, interfaceAddress: IpAddress): void {
    const handle = siiHandle(association.identity, interfaceAddress);
    const other = this.#byPeer.get(handle);
    if (other === association || !association.addAddress(interfaceAddress)) return;
    if (other !== undefined && this.#prefer(other, association)) {
      association.replaceBy(other);
      return;
    }
    this.#byPeer.set(handle, association);
    other?.replaceBy(association);
    this.#replaceOpening(association, interfaceAddress);
  }

  removed(association: Association): void {
    this.#all.delete(association);
    if (association.connection !== undefined) this.#byConnection.delete(association.connection);
    for (const address of association.interfaceAddresses) {
      const handle = `${association.identity}@${address}`;
      if (this.#byPeer.get(handle) === association) this.#byPeer.delete(handle);
    }
  }

  shutDown(): void {
    for (const association of [...this.#all]) association.shutDown("this node is stopping");
  }

  views(): AssociationView[] {
    return Array.from(this.#all, (association) => association.view());
  }

  #full(): boolean {
    return this.#all.size >= this.#context.options.maxAssociations;
  }

  #opened(association: Association, connection: Connection): void {
    this.#byConnection.set(connection, association);
    this.learn(association, association.address);
  }

  #prefer(old: Association, young: Association): boolean {
    if (old.initiator === young.initiator || old.age > this.#context.options.connectTimeout) return false;
    const lower = this.#context.identityText < old.identity;
    return old.initiator === lower;
  }

  /** Who waits for an association to this peer to open need not wait any longer. */
  #replaceOpening(association: Association, interfaceAddress: IpAddress): void {
    for (const opening of [...this.#opening.values()])
      if (opening.identity === association.identity && opening.address.equals(interfaceAddress))
        opening.replaceBy(association);
  }
}

function openingKey(identity: string, address: IpAddress, port: number): string {
  return `${siiHandle(identity, address)}:${port}`;
}
