// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import type * as API from "./api.js";
import { base64url, utf8 } from "./bytes.js";
import { CardbrokerError } from "./error.js";

/** How long a sealed PIN is good for, in seconds; the agent takes 60. */
const life = 50;

/** Web Crypto, which pages have that are https:// or this computer's. */
function subtle(): SubtleCrypto {
  if (!globalThis.crypto?.subtle) {
    throw new CardbrokerError({ reason: "insecure_page", description: "a PIN can be encrypted by https:// pages only" });
  }
  return crypto.subtle;
}

/** RFC 7638 with SHA-256, in base64url, of a P-256 key. */
export async function thumbprint(key: API.DeviceJWK): Promise<string> {
  const members = JSON.stringify({ crv: key.crv, kty: key.kty, x: key.x, y: key.y });
  return base64url(new Uint8Array(await subtle().digest("SHA-256", utf8(members))));
}

/**
 * The agent's P-256 key, if it has the thumbprint that the broker vouches for. The agent's port may be somebody else's by
 * now; the broker has the thumbprint from the agent itself, whose user the kernel has named.
 */
export async function pinned(keys: API.DeviceKeys, vouched: string): Promise<API.DeviceJWK> {
  const key = keys.keys.find((k) => k.kty === "EC" && k.crv === "P-256");
  if (!key || (await thumbprint(key)) !== vouched) {
    throw new CardbrokerError({ reason: "key_mismatch", description: "the agent's key is not the one that the broker vouches for" });
  }
  return { ...key, kid: vouched };
}

/** Seals a PIN for a reader: a JWE in compact form, RFC 7516, with ECDH-ES and A256GCM, as docs/pin.md says. */
export async function seal(key: API.DeviceJWK, reader: string, nonce: string, pin: string): Promise<string> {
  const curve = { name: "ECDH", namedCurve: "P-256" };
  const { kty, crv, x, y } = key as { kty: string; crv: string; x: string; y: string };
  const theirs = await subtle().importKey("jwk", { kty, crv, x, y }, curve, false, []);
  const ours = await subtle().generateKey(curve, true, ["deriveBits"]);
  const cek = await derive(await subtle().deriveBits({ name: "ECDH", public: theirs }, ours.privateKey, 256));
  const epk = await subtle().exportKey("jwk", ours.publicKey);
  const header = base64url(utf8(JSON.stringify({
    alg: "ECDH-ES", enc: "A256GCM", typ: "pin+jwe", kid: key.kid, aud: reader, nonce,
    exp: Math.floor(Date.now() / 1000) + life, epk: { kty: epk.kty, crv: epk.crv, x: epk.x, y: epk.y },
  })));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const plain = utf8(pin);
  const sealed = new Uint8Array(await subtle().encrypt({ name: "AES-GCM", iv, additionalData: utf8(header) }, cek, plain));
  plain.fill(0);
  return [header, "", base64url(iv), base64url(sealed.slice(0, -16)), base64url(sealed.slice(-16))].join(".");
}

/** The content's key, RFC 7518 §4.6.2: one round of Concat KDF for A256GCM, without party info. */
async function derive(z: ArrayBuffer): Promise<CryptoKey> {
  const info = Uint8Array.from([0, 0, 0, 1, ...new Uint8Array(z), 0, 0, 0, 7, ...utf8("A256GCM"), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
  return subtle().importKey("raw", await subtle().digest("SHA-256", info), "AES-GCM", false, ["encrypt"]);
}
