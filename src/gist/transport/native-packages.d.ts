/** Types of the two packages that come without; only what is used here. */

declare module "raw-socket" {
  interface Socket {
    /** Packets that wait to be handed to the kernel. */
    readonly requests: readonly unknown[];
    /** The socket itself; throws where the kernel does not take the packet. */
    readonly wrap: {
      send(
        buffer: Uint8Array,
        offset: number,
        length: number,
        address: string,
        done: (bytes: number) => void,
      ): void;
    };
    pauseRecv(): this;
    send(
      buffer: Uint8Array,
      offset: number,
      length: number,
      address: string,
      done: (error: Error | null, bytes: number) => void,
    ): this;
    setOption(level: number, option: number, value: number): void;
    on(event: "error", listener: (error: Error) => void): this;
    on(event: "close", listener: () => void): this;
    close(): this;
  }
  interface RawSocketPackage {
    readonly AddressFamily: { readonly IPv4: number; readonly IPv6: number };
    createSocket: (this: void, options: { protocol: number; addressFamily: number }) => Socket;
  }
  const raw: RawSocketPackage;
  export default raw;
  export type { RawSocketPackage, Socket };
}

declare module "nfqueue" {
  interface QueuedPacket {
    readonly info: {
      readonly id: number;
      /** Interface index; 0 when there is none. */
      readonly indev: number;
      readonly nfmark: number;
    };
    /** IP packet; belongs to the receiver. */
    readonly payload: Buffer;
    setVerdict(verdict: number, mark?: number, payload?: Buffer): void;
  }
  interface NfqueuePackage {
    readonly NF_DROP: number;
    readonly NF_ACCEPT: number;
    createQueueHandler: (
      this: void,
      queue: number,
      receiveBufferBytes: number,
      packet: (packet: QueuedPacket) => void,
    ) => unknown;
  }
  const nfqueue: NfqueuePackage;
  export default nfqueue;
  export type { NfqueuePackage, QueuedPacket };
}
