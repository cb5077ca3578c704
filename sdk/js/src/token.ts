// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import { base64, fromBase64 } from "./bytes.js";
import { timeouts, type CallOptions } from "./http.js";
import type { Link } from "./link.js";

/** How the PIN gets to the card: from the page, sealed to the agent's key; or the agent asks its user. */
export interface PinOptions extends CallOptions {
  /** What the user has entered in the page. It leaves the page encrypted only, and is in no error. */
  pin?: string | undefined;
  /** The agent asks: a window of the session, or the reader's pin pad. No web page sees the PIN. */
  osDialog?: boolean | undefined;
}

/** What is signed: data, or its hash if the page has hashed it. */
export interface Input {
  /** Such as `sha256` or `rsassa_pss_sha256`: one of {@link Token.algorithms}. */
  algorithm: string;
  data?: Uint8Array | undefined;
  hash?: Uint8Array | undefined;
  /** Of the certificate; without one the token's first that fits. */
  id?: string | undefined;
}

/** What is signed, by which key. */
export interface SignOptions extends PinOptions, Input {
  /** Whether the PIN may be kept for the next signatures, where policy keeps it, and is not asked for if it was. */
  bulk?: boolean | undefined;
}

/** What a certificate is for. */
export type CertificateUse = "authentication" | "nonRepudiation" | "encryption" | "issuer" | "intermediate" | "root";

/** A certificate of a token. */
export interface Certificate {
  use: CertificateUse;
  id: string;
  /** DER. */
  der: Uint8Array;
  subject: string;
  issuer: string;
  serialNumber: string;
  notBefore: Date;
  notAfter: Date;
  /** `expired`, `expires_soon` (within 30 days), `not_yet_valid` or empty. */
  warning: string;
}

interface ListedCertificate {
  certificate: string;
  id: string;
  subject: string;
  issuer: string;
  serialNumber: string;
  notBefore: string;
  notAfter: string;
  warning: string;
}

type CertificateList = Partial<Record<`${CertificateUse}Certificate` | "intermediateCertificates", { certificates?: ListedCertificate[] }>>;

/** What a token says of itself, PKCS#11 v2.40 §3.2. */
export interface TokenInfo {
  slot: string;
  label: string;
  manufacturerId: string;
  model: string;
  serialNumber: string;
}

/** A PKCS#11 module that the administrator has set up. */
export interface Module {
  name: string;
  title: string;
  /** Whether its tokens are cards in PC/SC readers. */
  pcsc: boolean;
}

/** A token (PKCS#11) in a reader, through one of the modules that the administrator has set up. */
export class Token {
  readonly #link: Link;
  readonly #reader: string;
  readonly #path: string;

  /** Use {@link Cardbroker.token}. */
  constructor(link: Link, module: string, reader: string) {
    this.#link = link;
    this.#reader = reader;
    this.#path = `/v3/modules/${encodeURIComponent(module)}/apps/token/readers/${encodeURIComponent(reader)}`;
  }

  /** What the token says of itself. */
  async info(options: CallOptions = {}): Promise<TokenInfo> {
    return (await this.#get<{ info: TokenInfo }>("/info", options)).info;
  }

  /** The certificates; of one use, or all. */
  async certificates(options: CallOptions & { use?: CertificateUse } = {}): Promise<Certificate[]> {
    const list = await this.#get<CertificateList>("/cert-list", options);
    const found: Certificate[] = [];
    for (const [kind, { certificates = [] }] of Object.entries(list)) {
      const use = kind.replace(/Certificates?$/, "") as CertificateUse;
      for (const c of options.use === undefined || options.use === use ? certificates : []) {
        const { id, subject, issuer, serialNumber, warning } = c;
        const [der, notBefore, notAfter] = [fromBase64(c.certificate), new Date(c.notBefore), new Date(c.notAfter)];
        found.push({ use, id, der, subject, issuer, serialNumber, notBefore, notAfter, warning });
      }
    }
    return found;
  }

  /** What {@link Token.sign} takes as `algorithm`. */
  async algorithms(options: CallOptions = {}): Promise<string[]> {
    return (await this.#get<{ ref: string[] }>("/supported-algorithms", options)).ref;
  }

  /** Signs with the key that a person signs with, unless another is named. It is never asked for twice. */
  sign(options: SignOptions): Promise<Uint8Array> {
    return this.#sign("/sign", options);
  }

  /** The same with the key that a person logs in with. */
  authenticate(options: SignOptions): Promise<Uint8Array> {
    return this.#sign("/authenticate", options);
  }

  /** Whether a signature is one of that data, or hash, by the key of a certificate. */
  async verify(options: CallOptions & Input & { signature: Uint8Array }): Promise<boolean> {
    const { data: hash, ...rest } = input(options);
    const body = { ...rest, hash, signedHash: base64(options.signature) };
    return (await this.#post<{ valid: boolean }>("/validate", body, options)).valid;
  }

  /** Has the card compare the PIN: true, or an error such as `pin_incorrect`. */
  async verifyPin(options: PinOptions): Promise<boolean> {
    return (await this.#post<{ verified: boolean }>("/verify-pin", await this.#sealed({ pin: options.pin }, options), options)).verified;
  }

  /** Gives the token another PIN. */
  async changePin(options: CallOptions & { pin?: string; newPin?: string; osDialog?: boolean }): Promise<void> {
    await this.#post("/change-pin", await this.#sealed({ pin: options.pin, newPin: options.newPin }, options), options);
  }

  /** Unblocks the PIN with the PUK, and sets it where one is given. */
  async unblock(options: CallOptions & { puk?: string; pin?: string; osDialog?: boolean }): Promise<void> {
    await this.#post("/reset-pin", await this.#sealed({ puk: options.puk, pin: options.pin }, options), options);
  }

  async #sign(call: string, options: SignOptions): Promise<Uint8Array> {
    const body = { ...input(options), ...(await this.#sealed({ pin: options.pin }, options)) };
    return fromBase64((await this.#post<{ data: string }>(call + (options.bulk ? "?bulk=true" : ""), body, options)).data);
  }

  /** The body of a call with secrets: each sealed, none in clear. */
  async #sealed(secrets: Record<string, string | undefined>, options: CallOptions & { osDialog?: boolean | undefined }): Promise<object> {
    const given = Object.entries(secrets).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const sealed = given.length > 0 ? await this.#link.seal(this.#reader, given.map(([, secret]) => secret), options) : [];
    return { ...Object.fromEntries(given.map(([name], i) => [name, sealed[i]])), osDialog: options.osDialog };
  }

  #get<T>(call: string, { signal }: CallOptions): Promise<T> {
    return this.#link.ask<T>(this.#path + call, { signal, timeout: timeouts.card });
  }

  #post<T>(call: string, body: object, { signal }: CallOptions): Promise<T> {
    return this.#link.ask<T>(this.#path + call, { method: "POST", body, signal, timeout: timeouts.card });
  }
}

function input({ algorithm, id, hash, data }: Input): { algorithm: string; id: string | undefined; data: string; hashed: false | undefined } {
  if ((hash === undefined) === (data === undefined)) {
    throw new TypeError("either data or its hash is signed");
  }
  return { algorithm, id, data: base64((hash ?? data)!), hashed: hash ? undefined : false };
}
