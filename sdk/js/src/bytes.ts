// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

/** Bytes, or their hexadecimal. */
export type Bytes = Uint8Array | ArrayBuffer | string;

/** Bytes as upper-case hexadecimal. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("").toUpperCase();
}

/** The bytes of hexadecimal; blanks do not matter. Anything else is a TypeError. */
export function bytes(of: Bytes): Uint8Array<ArrayBuffer> {
  if (typeof of !== "string") {
    return new Uint8Array(of);
  }
  const digits = of.replace(/\s/g, "");
  if (!/^([0-9A-Fa-f]{2})*$/.test(digits)) {
    throw new TypeError("not hexadecimal");
  }
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Base64, RFC 4648 §4. */
export function base64(of: Uint8Array): string {
  return btoa(Array.from(of, (b) => String.fromCharCode(b)).join(""));
}

/** The bytes of base64. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** Base64url without padding, RFC 4648 §5. */
export function base64url(of: Uint8Array): string {
  return base64(of).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** UTF-8. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new TextEncoder().encode(text));
}
