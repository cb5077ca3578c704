// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import type * as API from "./api.js";
import { bytes, hex, type Bytes } from "./bytes.js";
import { timeouts, type CallOptions } from "./http.js";
import type { Link } from "./link.js";

/** What a card answered to a command, ISO/IEC 7816-4 §5.3. */
export interface CardResponse {
  /** The status word: four hexadecimal digits. */
  sw: string;
  data: Uint8Array;
  /** Whether the status word is 9000. */
  ok: boolean;
}

/**
 * The page's own use of a card: no other page and no back end has commands in between. Close it; else it ends when nothing was asked for so
 * long as its timeout says, and in any case after ten minutes. A command is never sent twice: after `agent_unreachable` or `indeterminate`
 * the card may have done it.
 */
export class CardSession {
  readonly #link: Link;
  readonly #path: string;
  readonly #id: string;

  /** Use {@link Cardbroker.session}. */
  constructor(link: Link, path: string, id: string) {
    this.#link = link;
    this.#path = path;
    this.#id = id;
  }

  /** Opens a session; `timeout` in seconds, 1 to 600. */
  static async open(link: Link, reader: string, options: CallOptions & { timeout?: number }): Promise<CardSession> {
    const path = `/v3/modules/remoteloading/apps/hsm/readers/${encodeURIComponent(reader)}`;
    const body = options.timeout === undefined ? {} : { timeout: options.timeout };
    return new CardSession(link, path, await post<string>(link, path + "/open-session", body, options));
  }

  /** Sends a command to the card: bytes, or hexadecimal. */
  async transmit(command: Bytes, options: CallOptions = {}): Promise<CardResponse> {
    return response(await this.#post<API.RemoteAnswer>("/command", { command: hex(bytes(command)) }, options));
  }

  /** Sends commands one after the other, in one request. */
  async transmitAll(commands: Bytes[], options: CallOptions = {}): Promise<CardResponse[]> {
    const body = { commands: commands.map((command) => hex(bytes(command))) };
    return (await this.#post<API.RemoteAnswer[]>("/commands", body, options)).map(response);
  }

  /** The card's answer to reset, ISO/IEC 7816-3 §8.2. */
  async atr(options: CallOptions = {}): Promise<Uint8Array> {
    return bytes(await this.#post<string>("/atr", {}, options));
  }

  /** Whether a card is in the reader. */
  cardPresent(options: CallOptions = {}): Promise<boolean> {
    return this.#post<boolean>("/card-present", {}, options);
  }

  /** Lets go of the card, which is reset. */
  async close(options: CallOptions = {}): Promise<void> {
    await this.#post<string>("/close-session", {}, options);
  }

  #post<T>(call: string, body: object, options: CallOptions): Promise<T> {
    return post<T>(this.#link, this.#path + call, { ...body, sessionId: this.#id }, options);
  }
}

function post<T>(link: Link, path: string, body: object, { signal }: CallOptions): Promise<T> {
  return link.ask<T>(path, { method: "POST", body, signal, timeout: timeouts.card });
}

function response(said: API.RemoteAnswer): CardResponse {
  return { sw: said.sw, data: bytes(said.rx ?? ""), ok: said.sw === "9000" };
}
