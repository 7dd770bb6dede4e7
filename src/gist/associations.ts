/** All messaging associations of a node: found by peer, opened, taken, and kept to one for each peer. */
import type { IpAddress } from "../base/address.js";
import { Association, type AssociationOwner, NOT_AUTHORISED } from "./association.js";
import { type GistContext, hex, siiHandle } from "./context.js";
import type { AssociationView, SiiHandle } from "./service.js";
import { atLeast, type Carrier, offered } from "./stack.js";
import type { Connection } from "./transport/transport.js";

export class Associations implements AssociationOwner {
  readonly #context: GistContext;
  readonly #all = new Set<Association>();
  /** Live associations by carrier, Peer-Identity and Interface-Address. */
  readonly #byPeer = new Map<string, Association>();
  /** Being opened, by peer and port. */
  readonly #opening = new Map<string, Association>();
  readonly #byConnection = new Map<Connection, Association>();

  /** Set by who has users that can be at rest. */
  eachAtRest: AssociationOwner["eachAtRest"] = () => {};

  constructor(context: GistContext) {
    this.#context = context;
  }

  /**
   * The live association to reuse: Peer-Identity and Interface-Address both match, it runs on one of the `carriers`, and
   * its peer is still authorised (RFC 5971 sections 4.4.3 and 5.7.3).
   */
  find(identity: string, interfaceAddress: IpAddress, carriers: readonly Carrier[]): Association | undefined {
    return this.byHandle(siiHandle(identity, interfaceAddress), carriers);
  }

  byHandle(handle: SiiHandle, carriers: readonly Carrier[]): Association | undefined {
    for (const carrier of carriers) {
      const association = this.#byPeer.get(peerKey(carrier, handle));
      if (association?.authorised === true) return association;
    }
    return undefined;
  }

  of(connection: Connection): Association | undefined {
    return this.#byConnection.get(connection);
  }

  /** The association to this peer that is being opened, or a new one; undefined when there are too many. */
  open(identity: string, address: IpAddress, port: number, carrier: Carrier): Association | undefined {
    const key = `${peerKey(carrier, siiHandle(identity, address))}:${port}`;
    const opening = this.#opening.get(key);
    if (opening !== undefined) return opening;
    if (this.#full()) return undefined;
    const association = new Association(this.#context, this, { identity, address, initiator: true, carrier });
    this.#all.add(association);
    this.#opening.set(key, association);
    association.open(port, (connected) => {
      this.#opening.delete(key);
      if (connected !== undefined) this.#opened(association, connected);
    });
    return association;
  }

  /** A peer opened an association. One that may not be is closed at once. */
  accept(connection: Connection): void {
    const { peer, protocol, remoteAddress } = connection;
    const identity = peer === undefined ? "" : hex(peer.identity);
    const objection = this.#objectionTo(connection, identity);
    if (objection !== undefined) {
      this.#context.counters.count(objection);
      connection.close();
      return;
    }
    const association = new Association(this.#context, this, {
      identity,
      address: remoteAddress,
      initiator: false,
      carrier: protocol,
    });
    this.#all.add(association);
    this.#byConnection.set(connection, association);
    association.accept(connection);
  }

  /** The list of authorised peers has changed: closes what it no longer lets be. */
  recheck(): void {
    for (const association of [...this.#all])
      if (association.live && !association.authorised) {
        this.#context.counters.count("closed.not-authorised");
        association.shutDown(NOT_AUTHORISED, "unauthorised");
      }
  }

  /**
   * The peer has this Interface-Address: from now on the association is found by it. Where two nodes open an
   * association to each other at the same time, both keep the one whose initiator has the lower Peer-Identity; an
   * association that is older has outlived its peer's memory, and gives way to the new one. The other carries what is
   * still on its way and closes when its hold time is over.
   */
  learn(association: Association, interfaceAddress: IpAddress): void {
    const key = peerKey(association.carrier, siiHandle(association.identity, interfaceAddress));
    const other = this.#byPeer.get(key);
    if (other === association || !association.addAddress(interfaceAddress)) return;
    if (other !== undefined && this.#prefer(other, association)) {
      association.replaceBy(other);
      return;
    }
    this.#byPeer.set(key, association);
    other?.replaceBy(association);
    this.#replaceOpening(association, interfaceAddress);
  }

  removed(association: Association): void {
    this.#all.delete(association);
    if (association.connection !== undefined) this.#byConnection.delete(association.connection);
    for (const address of association.interfaceAddresses) {
      const key = peerKey(association.carrier, `${association.identity}@${address}`);
      if (this.#byPeer.get(key) === association) this.#byPeer.delete(key);
    }
  }

  shutDown(): void {
    for (const association of [...this.#all]) association.shutDown("this node is stopping");
  }

  views(): AssociationView[] {
    return Array.from(this.#all, (association) => association.view());
  }

  /** The counter of the reason for which an association is not taken; undefined: it is. */
  #objectionTo({ protocol, peer, remoteAddress }: Connection, identity: string): string | undefined {
    if (protocol === "tls" ? peer === undefined : !offered(this.#context).includes("tcp"))
      return "refused.not-tls";
    if (!this.#context.peers.admits(peer?.names ?? [])) return "refused.not-authorised";
    if (this.#full()) return "limited.associations";
    const same = (other: Association): boolean =>
      protocol === "tls" ? other.identity === identity : other.address.equals(remoteAddress);
    const alike = [...this.#all].filter((other) => !other.initiator && other.carrier === protocol);
    const { maxAssociations, maxAssociationsPerPeer } = this.#context.options;
    if (alike.filter(same).length >= maxAssociationsPerPeer) return "limited.associations-of-peer";
    // What anybody may open leaves half of the room for what shows a certificate.
    return protocol === "tcp" && alike.length >= maxAssociations / 2 ? "limited.associations" : undefined;
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
      if (
        opening.identity === association.identity &&
        opening.address.equals(interfaceAddress) &&
        atLeast(opening.carrier).includes(association.carrier)
      )
        opening.replaceBy(association);
  }
}

function peerKey(carrier: Carrier, handle: SiiHandle): string {
  return `${carrier} ${handle}`;
}
