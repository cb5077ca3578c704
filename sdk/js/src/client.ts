// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import type * as API from "./api.js";
import { codeWord, Consents, ownStore, type Store } from "./consents.js";
import { CardbrokerError } from "./error.js";
import { events } from "./events.js";
import { first, timeouts, type CallOptions } from "./http.js";
import { Link, type Token as JWT } from "./link.js";
import { willAsk } from "./permission.js";
import { CardSession } from "./session.js";
import { Token, type Module } from "./token.js";

/** How cardbroker is found. Everything has a default. */
export interface ConnectOptions extends CallOptions {
  /** The broker's address. Default: `http://127.0.0.1:51983`, then `https://localhost:51983`. */
  broker?: string | undefined;
  /** Ports that the broker may have, in place of 51983. */
  ports?: number[] | undefined;
  /** A fixed port where every session meets its own agent, such as `https://localhost:53952`; else the broker says where it is. */
  agent?: string | undefined;
  /** Where consents are kept; default: localStorage. */
  storage?: Store | undefined;
  /** A JWT of the page's site, where machine policy wants one. */
  jwt?: JWT | undefined;
  /** Called before a request at which the browser asks whether the page may reach this computer: say what it is good for. */
  explain?: (() => void | Promise<void>) | undefined;
}

/** Which readers are wanted. */
export interface ReaderFilter extends CallOptions {
  /** Only readers with a card, or only those without. */
  card?: boolean | undefined;
  /** Readers to leave out: terms of their names, in which `*` is any characters and `?` is one. */
  exclude?: string[] | undefined;
}

/** Callbacks for readers and cards. */
export interface Watcher extends CallOptions {
  onEvent: (event: API.ReaderEvent) => void;
  /** It has ended for good: the user has taken his consent back, perhaps. */
  onError?: ((error: CardbrokerError) => void) | undefined;
}

/** How the card of a reader compares a PIN, without a module; docs/pin.md. */
export interface VerifyPinOptions extends CallOptions {
  /** P2 of VERIFY, two hexadecimal digits. */
  reference: string;
  /** The application that is selected first, in hexadecimal. */
  aid?: string | undefined;
  encoding?: "piv" | "ascii" | "bcd" | "iso9564-2" | undefined;
  /** Left out, the agent asks its user. */
  pin?: string | undefined;
  /** The agent asks in any case. */
  osDialog?: boolean | undefined;
}

/**
 * Finds the broker of this computer, and the user's agent if he has consented to this page before. Ask for his consent if
 * {@link Cardbroker.consented} says no.
 */
export async function connect(options: ConnectOptions = {}): Promise<Cardbroker> {
  const asks = await willAsk();
  if (asks) {
    await options.explain?.();
  }
  const ports = options.ports ?? [51983];
  const brokers = options.broker ? [options.broker] : ports.flatMap((port) => [`http://127.0.0.1:${port}`, `https://localhost:${port}`]);
  let problem: unknown;
  for (const address of brokers) {
    const broker = new URL(address).origin;
    const link = new Link(broker, new Consents(broker, options.storage ?? ownStore()), options.agent && new URL(options.agent).origin, options.jwt);
    let info: API.Info;
    try {
      info = await link.askBroker<API.Info>("/info", { signal: options.signal, timeout: asks ? timeouts.user : timeouts.look });
    } catch (error) {
      options.signal?.throwIfAborted();
      problem ??= error;
      continue;
    }
    if (!info.cardbroker) {
      problem ??= new CardbrokerError({ reason: "not_cardbroker", description: `what answers at ${broker} is not cardbroker` });
      continue;
    }
    const client = new Cardbroker(link, info);
    await client.validate(options);
    return client;
  }
  throw problem;
}

/** The broker of this computer and the agent of the user's session. Make it with {@link connect}. */
export class Cardbroker {
  readonly #link: Link;
  /** Of cardbroker. */
  readonly version: string;
  /** The host's name. */
  readonly host: string;

  constructor(link: Link, info: API.Info) {
    this.#link = link;
    this.version = info.cardbroker.version;
    this.host = info.t1CInfoUser.hostName;
  }

  /** The broker's address. */
  get broker(): string {
    return this.#link.broker;
  }

  /** The agent's address; undefined without consent. It may change. */
  get agent(): string | undefined {
    return this.#link.agent;
  }

  /** Whether the user has consented to this page, as far as is known. */
  get consented(): boolean {
    return this.#link.agent !== undefined;
  }

  /** When his consent ends. */
  get expires(): Date | undefined {
    return this.#link.expires;
  }

  /** Says whether the consent still counts, and looks up where the agent is. */
  validate({ signal }: CallOptions = {}): Promise<boolean> {
    return this.#link.consent("/v3/validate", { signal });
  }

  /**
   * Asks the user for his consent to this page, for so many days or as long as policy lets it. It waits for him, for a minute
   * at most. Call it when he has clicked something. `consent_required`: he said no, or nothing.
   */
  async consent(options: CallOptions & { days?: number } = {}): Promise<void> {
    const body = { codeWord: codeWord(), durationInDays: options.days };
    if (!(await this.#link.consent("/v3/consent", { body, signal: options.signal, timeout: timeouts.user }))) {
      throw new CardbrokerError({ reason: "consent_required", description: "the user has not consented to this page" });
    }
  }

  /** Gives the consent to this page back. */
  async revoke({ signal }: CallOptions = {}): Promise<void> {
    await this.#link.ask("/cb/v1/consents/revoke", { method: "POST", body: { origin: location.origin }, signal });
    await this.validate({ signal });
  }

  /** The session's readers. */
  readers({ card, exclude = [], signal }: ReaderFilter = {}): Promise<API.CardReader[]> {
    const query = new URLSearchParams(exclude.map((term) => ["excluded", term]));
    if (card !== undefined) {
      query.set("cardInserted", String(card));
    }
    return this.#link.ask("/v3/readers" + `${query}`.replace(/^./, "?$&"), { signal });
  }

  /** One of them, by its id. */
  reader(id: string, { signal }: CallOptions = {}): Promise<API.CardReader> {
    return this.#link.ask(`/v3/readers/${encodeURIComponent(id)}`, { signal });
  }

  /** The readers and cards that are there, then every change, until the signal is aborted or the loop is left. */
  events(options: CallOptions = {}): AsyncIterableIterator<API.ReaderEvent> {
    return events(this.#link, options);
  }

  /** The same by callbacks. Returns what ends it. */
  watch({ onEvent, onError, signal }: Watcher): () => void {
    const stop = new AbortController();
    const either = first(stop.signal, signal);
    const follow = async () => {
      for await (const event of events(this.#link, { signal: either })) {
        onEvent(event);
      }
    };
    follow().catch((error: unknown) => {
      if (!either.aborted && onError && error instanceof CardbrokerError) {
        onError(error);
      } else if (!either.aborted) {
        reportError(error);
      }
    });
    return () => stop.abort();
  }

  /** The modules that the administrator has set up. */
  async modules({ signal }: CallOptions = {}): Promise<Module[]> {
    return (await this.#link.ask<{ modules: Module[] }>("/cb/v1/modules", { signal, timeout: timeouts.card })).modules;
  }

  /**
   * The slots of a module, of which `present` are those with a token. A token that is no card in a reader is found in no other way: the id
   * of its slot stands where a reader's does.
   */
  async slots(module: string, { present, signal }: CallOptions & { present?: boolean } = {}): Promise<API.Slot[]> {
    const path = `/cb/v1/modules/${encodeURIComponent(module)}/slots${present ? "?present=true" : ""}`;
    return (await this.#link.ask<API.Slots>(path, { signal, timeout: timeouts.card })).slots;
  }

  /** A token in a reader, by the name of its module: one of the card's `modules`; or in a slot of {@link Cardbroker.slots}. */
  token(module: string, reader: string): Token {
    return new Token(this.#link, module, reader);
  }

  /** Opens a session with the card in a reader, for commands; it ends after `timeout` seconds without one. */
  session(reader: string, options: CallOptions & { timeout?: number } = {}): Promise<CardSession> {
    return CardSession.open(this.#link, reader, options);
  }

  /** Has the card in a reader compare a PIN: true, or an error such as `pin_incorrect`. */
  async verifyPin(reader: string, options: VerifyPinOptions): Promise<boolean> {
    const { reference, aid, encoding, pin, osDialog, signal } = options;
    const [sealed] = pin === undefined ? [] : await this.#link.seal(reader, [pin], { signal });
    const body = { reference, aid, encoding, osDialog, pin: sealed };
    const path = `/cb/v1/readers/${encodeURIComponent(reader)}/verify-pin`;
    return (await this.#link.ask<API.PINVerified>(path, { method: "POST", body, signal, timeout: timeouts.card })).verified;
  }

  /** Offers a reader to a back end's tenant. Hand the ticket to the back end: it works once, for five minutes. */
  offer(reader: string, tenant: string, { signal }: CallOptions = {}): Promise<API.Offered> {
    return this.#link.ask("/cb/v1/offers", { method: "POST", body: { reader, tenant }, signal });
  }

  /** Which back ends hold readers of this session. */
  async leases({ signal }: CallOptions = {}): Promise<API.Lease[]> {
    return (await this.#link.ask<API.Leases>("/cb/v1/leases", { signal })).leases;
  }
}
