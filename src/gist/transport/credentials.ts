/** The certificate, key and trusted authorities of a node, as TLS settings (RFC 5971 section 5.7.3). */
import { constants, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";

export interface Credentials {
  /** PEM: the node's certificate, followed by intermediate ones if there are any. */
  readonly certificate: string;
  /** PEM. */
  readonly key: string;
  /** PEM: the authorities that are trusted, and no others. */
  readonly authorities: readonly string[];
}

/** For either end: the options for a server, the context for a client. */
export interface SecureSide {
  readonly options: SecureContextOptions;
  readonly context: SecureContext;
}

/** What both ends of a TLS association are set to. */
const TLS_SETTINGS = {
  // A resumed session would not look at the certificates again, neither at their dates nor at who signed them.
  secureOptions: constants.SSL_OP_NO_TICKET,
  minVersion: "TLSv1.2",
  maxVersion: "TLSv1.3",
  ciphers: [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE+AESGCM",
    "ECDHE+CHACHA20",
  ].join(":"),
} as const;

/** Throws one clear error when these cannot work together. */
export function secureOptions({ certificate, key, authorities }: Credentials): SecureSide {
  if (authorities.length === 0) throw new Error("no authority is trusted: no peer could ever connect");
  const options = { ...TLS_SETTINGS, cert: certificate, key, ca: [...authorities] };
  try {
    // OpenSSL passes over an authority in which it finds no certificate.
    for (const authority of authorities) new X509Certificate(authority);
    return { options, context: createSecureContext(options) };
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new Error(`the certificate, its key or an authority cannot be used for TLS: ${detail}`);
  }
}
