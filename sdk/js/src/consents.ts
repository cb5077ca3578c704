// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import { fromBase64 } from "./bytes.js";

/** Where consents are kept; localStorage is one. */
export interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/**
 * What the page has to show for the user's consents: of one broker's address, and of several hosts behind it where a profile
 * roams. What is kept decides nothing; the agent has its own book.
 */
export class Consents {
  readonly #store: Store | undefined;
  readonly #key: string;
  #list: string[];

  constructor(broker: string, store: Store | undefined) {
    this.#store = store;
    this.#key = `cardbroker-consents::${broker}`;
    this.#list = this.#read();
  }

  get list(): string[] {
    return this.#list;
  }

  /** Keeps what the server says instead. */
  keep(list: string[]): void {
    this.#list = list;
    try {
      this.#store?.setItem(this.#key, JSON.stringify(list));
    } catch {
      // it is full, or the browser keeps nothing: the user is asked again next time
    }
  }

  #read(): string[] {
    try {
      const kept: unknown = JSON.parse(this.#store?.getItem(this.#key) ?? "[]");
      return Array.isArray(kept) ? kept.filter((c) => typeof c === "string") : [];
    } catch {
      return [];
    }
  }
}

/** The page's own store, if the browser gives it one. */
export function ownStore(): Store | undefined {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}

/** A code word of the form that brokers want. It proves nothing. */
export function codeWord(): string {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  return "::t1c::miksa::" + Array.from(crypto.getRandomValues(new Uint8Array(32)), (b) => letters[b % letters.length]).join("");
}

/** The agent's port and the end of the consent, out of one; undefined if it has none. */
export function parse(consent: string): { port: number; expires: Date | undefined } | undefined {
  try {
    const said = JSON.parse(new TextDecoder().decode(fromBase64(consent)));
    const port = Number(said.agent.apiPort);
    const expires = typeof said.expires === "string" ? new Date(said.expires) : undefined;
    return Number.isInteger(port) && port > 0 && port < 65536 ? { port, expires } : undefined;
  } catch {
    return undefined;
  }
}
