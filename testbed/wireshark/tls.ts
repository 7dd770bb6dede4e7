/** TLS between two ends in this process, with what went between them and its keys. */
import { once } from "node:events";
import { Duplex } from "node:stream";
import { connect, TLSSocket } from "node:tls";
import type { Chunk } from "./packets.js";

export interface TlsConversation {
  readonly chunks: readonly Chunk[];
  /** Lines in the format of NSS. */
  readonly keyLog: string;
}

/** The client writes the messages one by one; the server says nothing. */
export async function tlsConversation(
  identity: { readonly certificate: string; readonly key: string },
  messages: readonly Uint8Array[],
): Promise<TlsConversation> {
  const chunks: Chunk[] = [];
  const [near, far] = wire(chunks);
  const server = new TLSSocket(far, { isServer: true, cert: identity.certificate, key: identity.key });
  const client = connect({ socket: near, rejectUnauthorized: false });
  let keyLog = "";
  client.on("keylog", (line: Buffer) => (keyLog += line.toString()));
  await once(client, "secureConnect");
  for (const message of messages) {
    client.write(message);
    await once(server, "data");
  }
  client.destroy();
  server.destroy();
  return { chunks, keyLog };
}

/** Two ends; what one writes the other reads, and it is noted. */
function wire(chunks: Chunk[]): readonly [client: Duplex, server: Duplex] {
  const end = (fromClient: boolean, other: () => Duplex): Duplex =>
    new Duplex({
      read: () => undefined,
      write: (bytes: Buffer, _encoding, done) => {
        chunks.push({ fromClient, bytes: Uint8Array.from(bytes) });
        other().push(bytes);
        done();
      },
    });
  const client: Duplex = end(true, () => server);
  const server: Duplex = end(false, () => client);
  return [client, server];
}
