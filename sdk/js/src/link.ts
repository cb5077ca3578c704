// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

import type * as API from "./api.js";
import type { Consents } from "./consents.js";
import { parse } from "./consents.js";
import { CardbrokerError, type Reason } from "./error.js";
import { ask, pause, send, Unanswered, type CallOptions, type Request } from "./http.js";
import { unreachable } from "./permission.js";
import { pinned, seal } from "./pin.js";

/** What says that the agent may be elsewhere by now: it restarts, or its port is another program's, or another user's. */
const moved: Reason[] = ["agent_restarting", "agent_unreachable", "caller_refused", "not_cardbroker"];
/** What the broker says while it does. */
const onItsWay: Reason[] = ["agent_restarting", "no_agent", "unavailable"];
/** How long an agent that has moved is looked for, in ms. */
const patience = 15_000;

/** What the page's site says to the agent of itself, where policy wants it to: a JWT. */
export type Token = string | (() => string | Promise<string>);

/** The way to the broker and, with the user's consent, to his agent. */
export class Link {
  readonly #consents: Consents;
  readonly #fixed: string | undefined;
  readonly #jwt: Token | undefined;
  #agent: string | undefined; // where it was last
  #expires: Date | undefined; // the consent
  #stale = false; // it has moved
  #looking: Promise<void> | undefined;

  constructor(readonly broker: string, consents: Consents, fixed: string | undefined, jwt: Token | undefined) {
    this.#consents = consents;
    this.#fixed = fixed;
    this.#jwt = jwt;
  }

  get agent(): string | undefined {
    return this.#agent;
  }

  get expires(): Date | undefined {
    return this.#expires;
  }

  /** Asks the broker. */
  async askBroker<T>(path: string, request: Request): Promise<T> {
    try {
      return await ask<T>(this.broker + path, request);
    } catch (error) {
      throw error instanceof Unanswered ? await unreachable(this.broker, error.cause) : error;
    }
  }

  /** Asks the user, or the agent's book, and says whether there is consent. */
  async consent(path: "/v3/consent" | "/v3/validate", request: Request): Promise<boolean> {
    const body = { ...(request.body as object), consents: this.#consents.list };
    const state = await this.askBroker<API.ConsentState>(path, { ...request, method: "POST", body });
    this.#consents.keep(state.consents);
    const where = state.consentState === "APPROVED" ? parse(state.consent) : undefined;
    this.#agent = where && (this.#fixed ?? at(this.broker, where.port));
    this.#expires = where?.expires;
    this.#stale = false;
    return this.#agent !== undefined;
  }

  /** Asks the agent and returns its JSON. */
  ask<T>(path: string, request: Request = {}): Promise<T> {
    return this.#once(request, (agent, headers) => ask<T>(agent + path, { ...request, headers }));
  }

  /** Asks the agent and returns an answer that goes on and on. */
  open(path: string, request: Request): Promise<Response> {
    return this.#once(request, (agent, headers) => send(agent + path, { ...request, headers }));
  }

  /**
   * Calls the agent. If it is not where it was, a GET is sent again to where it is now. Nothing else ever is: a card may
   * have done it.
   */
  async #once<T>(request: Request, call: (agent: string, headers: Record<string, string>) => Promise<T>): Promise<T> {
    for (let last = request.method === "POST"; ; last = true) {
      const agent = await this.#located(request.signal);
      try {
        return await call(agent, await this.#headers());
      } catch (cause) {
        const error = cause instanceof Unanswered ? gone(agent, cause) : cause;
        const reason = error instanceof CardbrokerError ? error.reason : undefined;
        if (reason === "consent_required") {
          this.#agent = undefined;
        }
        if (!reason || !moved.includes(reason)) {
          throw error;
        }
        this.#stale = true;
        if (last) {
          throw error;
        }
      }
    }
  }

  async #headers(): Promise<Record<string, string>> {
    const jwt = typeof this.#jwt === "function" ? await this.#jwt() : this.#jwt;
    return jwt ? { Authorization: `Bearer ${jwt}` } : {};
  }

  /** Where the agent is; looked up if it has moved, once for all who wait. */
  async #located(signal: AbortSignal | undefined): Promise<string> {
    if (this.#stale) {
      this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
      await within(this.#looking, signal);
    }
    if (!this.#agent) {
      throw new CardbrokerError({ reason: "consent_required", description: "the user has not consented to this page" });
    }
    return this.#agent;
  }

  async #look(): Promise<void> {
    for (let wait = 100, end = Date.now() + patience; ; wait = Math.min(2 * wait, 1000)) {
      try {
        await this.consent("/v3/validate", {});
        return;
      } catch (error) {
        const later = error instanceof CardbrokerError && onItsWay.includes(error.reason);
        if (!later || Date.now() + wait > end) {
          throw error;
        }
      }
      await pause(wait);
    }
  }

  /** Seals PINs for a reader, each by itself, to the key that the broker vouches for. */
  async seal(reader: string, pins: string[], { signal }: CallOptions): Promise<string[]> {
    const key = await this.#key(signal);
    const sealed: string[] = [];
    for (const pin of pins) {
      const { nonce } = await this.ask<API.PINChallenge>("/cb/v1/pin-challenges", { method: "POST", signal });
      sealed.push(await seal(key, reader, nonce, pin));
    }
    return sealed;
  }

  /** The agent makes its key when it starts, and then tells the broker: that may take a second. */
  async #key(signal: AbortSignal | undefined): Promise<API.DeviceJWK> {
    for (let left = 20; ; left--) {
      try {
        const keys = await this.ask<API.DeviceKeys>("/cb/v1/device-key", { signal });
        const { deviceKeyThumbprint } = await this.askBroker<API.OwnAgent>("/cb/v1/agent", { signal });
        if (deviceKeyThumbprint === "") {
          throw new CardbrokerError({ reason: "unavailable", description: "the broker does not know the agent's key yet" });
        }
        return await pinned(keys, deviceKeyThumbprint);
      } catch (error) {
        if (!(error instanceof CardbrokerError) || error.reason !== "unavailable" || left === 0) {
          throw error;
        }
      }
      await pause(250, signal);
    }
  }
}

/** The same host and scheme at another port. */
function at(broker: string, port: number): string {
  const url = new URL(broker);
  url.port = String(port);
  return url.origin;
}

function gone(agent: string, cause: Error): CardbrokerError {
  return new CardbrokerError({ reason: "agent_unreachable", description: `the agent at ${agent} does not answer`, cause: cause.cause });
}

/** Waits for what others wait for too. */
function within<T>(what: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) {
    return what;
  }
  return new Promise((done, fail) => {
    const stop = () => fail(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    what.then(done, fail).finally(() => signal.removeEventListener("abort", stop));
    if (signal.aborted) {
      stop();
    }
  });
}
